//! Models machines: holds the constants of all cost models.
//!
//! Plans follow from these constants, and the last bits of results follow from plans, so that the models are part of
//! the program and never measured on the machine that it runs on.

use crate::Algorithm;

/// The machine that costs are estimated for.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Machine {
    /// A CPU.
    Cpu(CpuModel),
    /// An NVIDIA GPU.
    Gpu(GpuModel),
    /// Any other device: it has candle's tensor operations and no algorithm but [`Algorithm::Dft`].
    Generic(CpuModel),
}

impl Machine {
    /// The CPU that plans are made for, whatever CPU the program runs on.
    pub const CPU: Machine = Machine::Cpu(CpuModel::ZEN4);

    /// A device that is neither the CPU nor an NVIDIA GPU.
    pub const GENERIC: Machine = Machine::Generic(CpuModel::ZEN4);

    /// A GPU like an H100 whose blocks may have `shared_memory` bytes of shared memory.
    pub fn gpu(shared_memory: usize) -> Machine {
        Machine::Gpu(GpuModel { shared_memory, ..GpuModel::H100 })
    }

    /// The algorithms that a planner chooses from unless it is restricted.
    pub fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Machine::Cpu(_) => &Algorithm::ON_CPU,
            Machine::Gpu(_) => &Algorithm::ON_GPU,
            Machine::Generic(_) => &[Algorithm::Dft],
        }
    }

    /// A name for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Machine::Cpu(_) => "the CPU",
            Machine::Gpu(_) => "a GPU",
            Machine::Generic(_) => "this device",
        }
    }
}

/// What one thread of a CPU achieves. Only the ratios matter for the choice of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CpuModel {
    /// Flop/s of real Fourier transforms, counted as 2.5 n log2 n.
    pub fft_flops: f64,
    /// Flop/s of complex matrix products, one per frequency.
    pub complex_product_flops: f64,
    /// Flop/s of element-wise complex products (depthwise layers).
    pub pointwise_flops: f64,
    /// Elements of feature maps per second that are transposed into vector lanes and back.
    pub transposed_elements: f64,
    /// Complex elements of spectra per second that are written and read again.
    pub spectrum_elements: f64,
    /// Flop/s of real matrix products of many channels.
    pub product_flops: f64,
    /// Channels at which matrix products reach half of `product_flops`.
    pub product_half_channels: f64,
    /// Flop/s of the matrix products of Winograd's algorithm.
    pub winograd_product_flops: f64,
    /// Elements per second of transformed tiles that are written and read again.
    pub winograd_tile_elements: f64,
    /// Elements per second of feature maps that are transformed to tiles and back.
    pub winograd_map_elements: f64,
    /// How many times slower matrix products are where feature maps are divided into segments that see different taps.
    pub segments_slowdown: f64,
    /// Elements gathered or scattered per second by the matrix-product algorithm.
    pub gathered_elements: f64,
    /// Flop/s of the direct algorithm on dense layers.
    pub direct_flops: f64,
    /// Elements of feature maps that the same reads and writes per second.
    pub direct_elements: f64,
    /// Multiply-adds of vectors per second of the direct algorithm on depthwise layers: where a feature map fits the
    /// first-level cache, and where it does not.
    pub direct_vectors: [f64; 2],
}

impl CpuModel {
    /// AMD Zen 4 with AVX-512, calibrated in 2026 with the example `layers` of `dash-bench`.
    pub const ZEN4: CpuModel = CpuModel {
        fft_flops: 2.4e10,
        complex_product_flops: 6.2e10,
        pointwise_flops: 1.6e10,
        transposed_elements: 8e8,
        spectrum_elements: 1.2e9,
        product_flops: 9e10,
        product_half_channels: 6.0,
        winograd_product_flops: 9e10,
        winograd_tile_elements: 2.5e9,
        winograd_map_elements: 2.5e9,
        segments_slowdown: 2.4,
        gathered_elements: 2.4e9,
        direct_flops: 4.8e10,
        direct_elements: 5.8e8,
        direct_vectors: [1.4e9, 0.9e9],
    };

    /// Flop/s of matrix products whose smallest side has this many channels.
    pub(crate) fn product_rate(&self, smallest: usize) -> f64 {
        self.product_flops * (smallest as f64 / (smallest as f64 + self.product_half_channels))
    }
}

/// What a GPU achieves.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct GpuModel {
    /// Bytes of shared memory that a block may have.
    pub shared_memory: usize,
    /// Bytes of shared memory of a multiprocessor's block at most; a transform that takes more than half of it runs
    /// alone on its multiprocessor.
    pub block_memory: usize,
    /// Flop/s of multiply-adds over taps.
    pub tap_flops: f64,
    /// Flop/s of matrix products.
    pub product_flops: f64,
    /// Flop/s of transforms in shared memory.
    pub transform_flops: f64,
    /// Bytes of global memory read or written per second.
    pub memory_bytes: f64,
    /// Seconds from one kernel launch to the next.
    pub launch_seconds: f64,
    /// Blocks that run at the same time if two share a multiprocessor.
    pub blocks: f64,
    /// Elements of a transform that are worth a block; smaller transforms share blocks.
    pub elements_per_block: f64,
    /// Launches of one forward and backward pass that transforms or convolves in one kernel.
    pub fused_launches: f64,
    /// Launches of the same around matrix products.
    pub product_launches: f64,
    /// Launches of the same in candle's tensor operations.
    pub tensor_launches: f64,
    /// The most bytes that spectra of kernels may take.
    pub kernel_spectra_bytes: f64,
    /// Bytes of intermediate results that exist at a time around matrix products.
    pub chunk_bytes: f64,
}

impl GpuModel {
    /// NVIDIA H100 (SXM), from its data sheet and not from measurements.
    ///
    /// Assumed: 67 Tflop/s in f32, of which taps in shared memory reach a quarter (one load per multiply-add),
    /// transforms in shared memory an eighth, and cuBLAS without TF32 six tenths where its matrices have many rows and
    /// columns; 3.35 TB/s, of which streaming kernels reach four fifths; 132 multiprocessors with two blocks each.
    pub const H100: GpuModel = GpuModel {
        shared_memory: 227 << 10,
        block_memory: 227 << 10,
        tap_flops: 0.25 * 67e12,
        product_flops: 0.6 * 67e12,
        transform_flops: 0.12 * 67e12,
        memory_bytes: 0.8 * 3.35e12,
        launch_seconds: 4e-6,
        blocks: 264.0,
        elements_per_block: 2048.0,
        fused_launches: 8.0,
        product_launches: 14.0,
        tensor_launches: 90.0,
        kernel_spectra_bytes: (4_u64 << 30) as f64,
        chunk_bytes: (1_u64 << 30) as f64,
    };
}
