//! Builds a convolution from its plan.

use crate::{
    ConvProblem, Machine, Plan,
    algorithm::CpuConvolution,
    cuda::{self, Convolution},
    dft::Dft,
    direct::{self, Layout},
    gemm::Gemm,
    recipe::Recipe,
    spectral::Spectral,
    winograd::Winograd,
};
use candle_core::{Device, Result};
use dash_cuda::Gpu;
use std::sync::Arc;

/// Where a convolution is computed.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The GPU, or its emulator, whose kernels are launched.
    pub(crate) gpu: Option<&'a Gpu>,
    /// The device that tensors are on.
    pub(crate) device: &'a Device,
}

impl Place<'_> {
    /// The machine whose cost model chooses plans.
    pub(crate) fn machine(&self) -> Machine {
        match self.gpu {
            Some(gpu) => Machine::gpu(gpu.shared_limit()),
            None if self.device.is_cpu() => Machine::CPU,
            None => Machine::GENERIC,
        }
    }
}

/// A convolution that is built for one problem on one device.
#[derive(Clone)]
pub(crate) enum Engine {
    /// Our kernels on the CPU.
    Cpu(Arc<dyn CpuConvolution>),
    /// candle's tensor operations on any device; candle derives their gradients.
    Tensors(Arc<Dft>),
    /// Our kernels on a GPU.
    Gpu(Gpu, Arc<dyn Convolution>),
}

impl Engine {
    /// Builds what `plan` says.
    pub(crate) fn build(plan: &Plan, problem: &ConvProblem, place: Place<'_>) -> Result<Engine> {
        Ok(match &plan.recipe {
            Recipe::Fft(tiling) => Engine::Cpu(Arc::new(Spectral::new(problem, tiling.clone())?)),
            Recipe::Winograd(tiling) => Engine::Cpu(Arc::new(Winograd::new(problem, tiling.clone()))),
            Recipe::Gemm(segments) => Engine::Cpu(Arc::new(Gemm::new(problem, segments.clone()))),
            Recipe::Direct(Layout::Depthwise) => Engine::Cpu(Arc::new(direct::Depthwise::new(problem))),
            Recipe::Direct(Layout::Rows) => Engine::Cpu(Arc::new(direct::Rows::new(problem))),
            Recipe::Dft(size) => Engine::Tensors(Arc::new(Dft::new(problem, *size, place.device)?)),
            Recipe::Gpu(recipe) => match place.gpu {
                Some(gpu) => Engine::Gpu(gpu.clone(), cuda::build(gpu, recipe, problem)?),
                None => candle_core::bail!("the plan `{plan}` is for a GPU"),
            },
        })
    }
}
