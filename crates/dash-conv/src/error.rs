//! What can be wrong with a convolution before it is computed.

/// A convolution that cannot be described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only one or two spatial axes are supported.
    #[error("a convolution has 1 or 2 spatial axes, not {0}")]
    Dimensions(usize),
    /// Centred kernels need a middle tap.
    #[error("kernel size {0} is not odd and positive, so it has no centre")]
    KernelSize(usize),
    /// Dilation, stride and groups count from one.
    #[error("{what} must be at least 1")]
    Zero {
        /// The quantity that is zero.
        what: &'static str,
    },
    /// A kernel without taps.
    #[error("a kernel needs at least one tap")]
    NoTaps,
    /// Offsets beyond this are a mistake, and would overflow index arithmetic.
    #[error("a tap offset of {0} is beyond the limit of 2^24")]
    Offset(i64),
    /// Channels that do not divide into the groups.
    #[error("{channels} {which} channels do not divide into {groups} groups")]
    Groups {
        /// `input` or `output`.
        which: &'static str,
        /// Number of channels.
        channels: usize,
        /// Number of groups.
        groups: usize,
    },
    /// A tensor whose shape does not fit.
    #[error("{tensor} has shape {got:?}, expected {expected}")]
    Shape {
        /// Which tensor.
        tensor: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// What would fit.
        expected: String,
    },
    /// A transform length that no algorithm here computes.
    #[error("transforms of length {0} are not supported: only factors 2, 3 and 5 are")]
    TransformLength(usize),
    /// An instruction set that was asked for and cannot be used.
    #[error("{} is {asked:?}, which {why}; available here: {available}", crate::simd::VARIABLE)]
    InstructionSet {
        /// What was asked for.
        asked: String,
        /// What is wrong with it, after "which".
        why: &'static str,
        /// The names of those that can be used.
        available: String,
    },
    /// A convolution that the algorithm asked for cannot compute.
    #[error("{algorithm} cannot compute {problem}: it needs {needs}")]
    Unsuitable {
        /// The algorithm.
        algorithm: crate::Algorithm,
        /// The convolution, in a line.
        problem: String,
        /// What the algorithm needs.
        needs: &'static str,
    },
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        candle_core::Error::wrap(error)
    }
}
