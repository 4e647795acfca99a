//! Names the families of algorithms, and defines what a convolution on the CPU computes.

use std::fmt;

/// A family of ways to compute a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// Real Fourier transforms of the feature maps and of the kernels.
    Fft,
    /// Winograd's minimal filtering: for two or three evenly spaced taps per axis and stride 1, best between many
    /// channels.
    Winograd,
    /// Matrix product of the weights and the inputs under all taps (im2col).
    Gemm,
    /// One multiply-add per tap and output.
    Direct,
    /// Fourier transforms written as matrix products, in candle's tensor operations: runs on any device.
    Dft,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 5] =
        [Algorithm::Fft, Algorithm::Winograd, Algorithm::Gemm, Algorithm::Direct, Algorithm::Dft];

    /// The algorithms that a planner chooses from on the CPU. [`Algorithm::Dft`] is left out: it is always slower
    /// there than [`Algorithm::Fft`].
    pub const ON_CPU: [Algorithm; 4] =
        [Algorithm::Fft, Algorithm::Winograd, Algorithm::Gemm, Algorithm::Direct];

    /// The algorithms that a planner chooses from on a GPU.
    pub const ON_GPU: [Algorithm; 4] = [Algorithm::Dft, Algorithm::Direct, Algorithm::Fft, Algorithm::Gemm];

    /// What the algorithm asks of a convolution, for error messages.
    pub(crate) fn requirement(self) -> &'static str {
        match self {
            Algorithm::Winograd => {
                "stride 1 and 2 or 3 evenly spaced taps per axis, or 1 along one of two axes"
            }
            Algorithm::Fft => "a tile whose transform fits in shared memory, on GPUs",
            Algorithm::Gemm => "a dense or grouped convolution with a tap that meets data, on GPUs",
            Algorithm::Direct => "a depthwise convolution with a tap that meets data, on GPUs",
            Algorithm::Dft => "nothing",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Fft => "fft",
            Algorithm::Winograd => "winograd",
            Algorithm::Gemm => "gemm",
            Algorithm::Direct => "direct",
            Algorithm::Dft => "dft",
        })
    }
}

/// The estimated cost of one forward and backward pass.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Cost {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes of work space.
    pub bytes: f64,
    /// Seconds; on the CPU of one thread.
    pub seconds: f64,
}

/// A convolution that is built for one problem and computes on slices in the CPU's memory.
pub(crate) trait CpuConvolution: Send + Sync {
    /// Computes `y = conv(x, weights) + bias`.
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]);

    /// Computes the gradients of the input, if `dx` is given, and of the weights from `grad`, that of the output.
    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]);
}
