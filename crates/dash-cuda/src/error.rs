//! Says why a GPU, or an operation on it, failed.

/// An error of a GPU, or of an operation on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Operands do not fit each other.
    #[error("{operation}: {what}")]
    Operands {
        /// The operation.
        operation: &'static str,
        /// How they do not fit.
        what: String,
    },
    /// The GPU or its driver failed.
    #[error("the GPU failed at {what}: {reason}")]
    Gpu {
        /// The kernel, or another action of the driver.
        what: String,
        /// The driver's message.
        reason: String,
    },
}

#[cfg(feature = "cuda")]
pub(crate) fn failed(what: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::Gpu { what: what.to_owned(), reason: reason.to_string() }
}

/// Checks that `what`, an operand of `operation`, has `expected` elements.
///
/// # Errors
/// If it has another number `len` of elements.
pub fn expect(operation: &'static str, what: &str, len: usize, expected: usize) -> Result<(), Error> {
    if len == expected {
        return Ok(());
    }
    Err(Error::Operands { operation, what: format!("{what} has {len} elements instead of {expected}") })
}
