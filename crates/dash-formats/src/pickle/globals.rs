//! The names that a pickle may refer to.

/// The allow-list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `numpy.core.multiarray._reconstruct`: an empty array, filled by BUILD.
    Reconstruct,
    /// `numpy.ndarray`: only an argument of `_reconstruct`.
    NdArray,
    /// `numpy.dtype`.
    DType,
    /// `numpy.core.multiarray.scalar`.
    Scalar,
    /// `numpy.core.numeric._frombuffer`: arrays in protocol 5.
    FromBuffer,
    /// `_codecs.encode`: how Python 3 writes bytes in protocol 2.
    Encode,
}

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Option<Global> {
        Some(match (module, name) {
            ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => Global::Reconstruct,
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Global::Scalar,
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Global::FromBuffer,
            ("numpy", "ndarray") => Global::NdArray,
            ("numpy", "dtype") => Global::DType,
            ("_codecs", "encode") => Global::Encode,
            _ => return None,
        })
    }
}
