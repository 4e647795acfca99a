//! Errors in the description of a convolution, found before anything is computed.

use crate::Algorithm;

/// An invalid description of a convolution, or one that cannot be computed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Only one or two spatial axes are supported.
    #[error("a convolution has 1 or 2 spatial axes, not {0}")]
    Dimensions(usize),
    /// A centred kernel without a middle tap.
    #[error("kernel size {0} is not odd and positive, so it has no centre")]
    KernelSize(usize),
    /// A count that must be at least one, as dilation, stride and groups.
    #[error("{what} must be at least 1")]
    Zero {
        /// The quantity that is zero.
        what: &'static str,
    },
    /// A kernel without taps.
    #[error("a kernel needs at least one tap")]
    NoTaps,
    /// An offset that is so large that it must be a mistake, and would overflow index arithmetic.
    #[error("a tap offset of {0} is beyond the limit of 2^24")]
    Offset(i64),
    /// Channels that are not a multiple of the groups.
    #[error("{channels} {which} channels are not divisible by {groups} groups")]
    Groups {
        /// `input` or `output`.
        which: &'static str,
        /// The number of channels.
        channels: usize,
        /// The number of groups.
        groups: usize,
    },
    /// A tensor of the wrong shape.
    #[error("{tensor} has shape {got:?}, expected {expected}")]
    Shape {
        /// Which tensor.
        tensor: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The expected shape.
        expected: String,
    },
    /// A transform length with a prime factor above 5.
    #[error("transforms of length {0} are not supported: only factors 2, 3 and 5 are")]
    TransformLength(usize),
    /// An instruction set that is not available.
    #[error("{variable} is {asked:?}, which {why}; available here: {available}")]
    InstructionSet {
        /// The environment variable that asks for it.
        variable: &'static str,
        /// Its value.
        asked: String,
        /// The reason, after "which".
        why: &'static str,
        /// The names of the available instruction sets.
        available: String,
    },
    /// A convolution that none of the allowed algorithms can compute.
    #[error("{} cannot compute {problem} on {machine}: {needs}", names(algorithms))]
    Unsuitable {
        /// The algorithms.
        algorithms: Vec<Algorithm>,
        /// The convolution, in a line.
        problem: String,
        /// Where it was to be computed.
        machine: &'static str,
        /// What each algorithm needs.
        needs: String,
    },
}

fn names(algorithms: &[Algorithm]) -> String {
    let names: Vec<String> = algorithms.iter().map(ToString::to_string).collect();
    names.join(" or ")
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        candle_core::Error::wrap(error)
    }
}
