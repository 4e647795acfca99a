//! Computes operations on an NVIDIA GPU or its emulator.

mod dropout;
mod elementwise;
mod loss;
mod mixing;
mod norm;
mod pool;
mod sgd;

use super::{
    operations::{
        Backward, Computed, DropoutMask, GradientScale, NormOperands, Normalised, Operations, SgdOperands,
        SgdRule,
    },
    scalar::{IdleScalars, PendingScalar},
};
use crate::targets::Targets;
use candle_core::{Device, DeviceLocation, Result, Shape, Tensor};
use dash_conv::{ConvProblem, Machine, Mixture, Plan};
use dash_core::{card::Scaling, pipeline::Loss};
use dash_cuda::{AsyncScalar, Gpu};
use std::sync::{Arc, PoisonError};

/// A GPU, or its emulator.
pub(super) struct CudaBackend {
    gpu: Gpu,
    device: Device,
    idle: IdleScalars,
}

impl CudaBackend {
    pub(super) fn new(gpu: Gpu) -> CudaBackend {
        CudaBackend { device: gpu.device(), gpu, idle: IdleScalars::default() }
    }
}

impl Operations for CudaBackend {
    fn name(&self) -> String {
        match self.device.location() {
            DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            _ => "emulator".to_owned(),
        }
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn gpu(&self) -> Option<&Gpu> {
        Some(&self.gpu)
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    fn conv_workspace(&self, problem: &ConvProblem) -> u64 {
        Plan::choose(problem, &Machine::gpu(self.gpu.shared_limit())).cost().bytes as u64
    }

    fn upload(&self, values: Vec<f32>, shape: Shape) -> Result<Tensor> {
        self.gpu.tensor(self.gpu.upload(&values)?, shape)
    }

    fn read_scalar(&self, scalar: &Tensor) -> Result<PendingScalar> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut read_back = idle.unwrap_or_else(|| AsyncScalar::new(self.gpu.clone()));
        read_back.record(scalar)?;
        Ok(PendingScalar::recorded(read_back, &self.idle))
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        elementwise::add(&self.gpu, a, b)
    }

    /// Into new memory: the allocator of a GPU has it at hand.
    fn accumulate(&self, sum: Tensor, term: &Tensor) -> Result<Tensor> {
        elementwise::add(&self.gpu, &sum, term)
    }

    fn mix(
        &self,
        mixture: &Mixture,
        weights: &Tensor,
        mixing_weights: &Tensor,
        [c_out, group_in]: [usize; 2],
    ) -> Result<Tensor> {
        mixture.mix_on_gpu(&self.gpu, weights, mixing_weights, c_out, group_in)
    }

    fn batch_norm(&self, x: &Tensor, operands: NormOperands<'_>) -> Result<Normalised> {
        norm::batch_norm(&self.gpu, x, operands)
    }

    fn mean_over_positions(&self, x: &Tensor) -> Result<Computed<Backward>> {
        pool::mean_over_positions(&self.gpu, x)
    }

    fn dropout(&self, x: &Tensor, mask: DropoutMask) -> Result<Computed<Backward>> {
        dropout::dropout(&self.gpu, x, mask)
    }

    fn loss(
        &self,
        output: &Tensor,
        loss: Loss,
        targets: Targets,
        scaling: Option<&Arc<Scaling>>,
    ) -> crate::error::Result<Tensor> {
        loss::loss(&self.gpu, output, loss, &targets, scaling.map(Arc::as_ref))
    }

    fn mixing_weights(&self, alpha: &Tensor, noise: Vec<f32>) -> Result<Tensor> {
        mixing::mixing_weights(&self.gpu, alpha, &noise)
    }

    fn arch_gradient(&self, gradient: &Tensor, penalty: &[f64], scale: f64) -> Result<Tensor> {
        mixing::arch_gradient(&self.gpu, gradient, penalty, scale)
    }

    fn clip_scale(&self, gradients: &[Tensor], max_norm: f64) -> Result<GradientScale> {
        sgd::clip_scale(&self.gpu, gradients, max_norm)
    }

    fn sgd_step(
        &self,
        operands: &mut dyn Iterator<Item = SgdOperands<'_>>,
        rule: SgdRule,
        scale: &GradientScale,
    ) -> Result<()> {
        sgd::step(&self.gpu, operands, rule, scale)
    }
}
