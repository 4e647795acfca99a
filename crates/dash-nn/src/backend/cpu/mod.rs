//! Computes operations on the CPU, with hand-written gradients. Reductions are in f64, in an order that does not depend on
//! the number of threads.

mod dropout;
mod elementwise;
mod loss;
mod mixing;
mod norm;
mod pool;
mod sgd;
mod simd;
mod values;

use super::{
    operations::{
        Backward, Computed, DropoutMask, GradientScale, NormOperands, Normalised, Operations, SgdOperands,
        SgdRule,
    },
    scalar::PendingScalar,
};
use crate::targets::Targets;
use candle_core::{Device, Result, Shape, Tensor};
use dash_conv::{ConvProblem, Machine, Mixture, Plan};
use dash_core::{card::Scaling, pipeline::Loss};
use std::sync::Arc;

pub(crate) use loss::{LARGEST_LOSS, mask_loss, relative_l2_errors};
pub use mixing::arch_gradient;
pub(crate) use sgd::gradient_norm;
pub(crate) use values::{Values, planes};

/// The CPU.
pub(super) struct CpuBackend;

impl Operations for CpuBackend {
    fn name(&self) -> String {
        "cpu".to_owned()
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn conv_workspace(&self, problem: &ConvProblem) -> u64 {
        Plan::choose(problem, &Machine::CPU).cost().bytes as u64
    }

    fn upload(&self, values: Vec<f32>, shape: Shape) -> Result<Tensor> {
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn read_scalar(&self, scalar: &Tensor) -> Result<PendingScalar> {
        scalar.reshape(())?.to_scalar().map(PendingScalar::known)
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        elementwise::add(a, b)
    }

    fn accumulate(&self, sum: Tensor, term: &Tensor) -> Result<Tensor> {
        elementwise::accumulate(sum, term)
    }

    fn mix(
        &self,
        mixture: &Mixture,
        weights: &Tensor,
        mixing_weights: &Tensor,
        [c_out, group_in]: [usize; 2],
    ) -> Result<Tensor> {
        mixture.mix(weights, mixing_weights, c_out, group_in)
    }

    fn batch_norm(&self, x: &Tensor, operands: NormOperands<'_>) -> Result<Normalised> {
        norm::batch_norm(x, operands)
    }

    fn mean_over_positions(&self, x: &Tensor) -> Result<Computed<Backward>> {
        pool::mean_over_positions(x)
    }

    fn dropout(&self, x: &Tensor, mask: DropoutMask) -> Result<Computed<Backward>> {
        dropout::dropout(x, mask)
    }

    fn loss(
        &self,
        output: &Tensor,
        loss: Loss,
        targets: Targets,
        scaling: Option<&Arc<Scaling>>,
    ) -> crate::error::Result<Tensor> {
        loss::loss(output, loss, targets, scaling)
    }

    fn mixing_weights(&self, alpha: &Tensor, noise: Vec<f32>) -> Result<Tensor> {
        mixing::mixing_weights(alpha, noise)
    }

    fn arch_gradient(&self, gradient: &Tensor, penalty: &[f64], scale: f64) -> Result<Tensor> {
        let values = arch_gradient(&gradient.to_vec1::<f32>()?, penalty, scale);
        Tensor::from_vec(values, gradient.shape(), gradient.device())
    }

    fn clip_scale(&self, gradients: &[Tensor], max_norm: f64) -> Result<GradientScale> {
        Ok(GradientScale::Known((max_norm / (sgd::gradient_norm(gradients)? + 1e-6)).min(1.0)))
    }

    fn sgd_step(
        &self,
        operands: &mut dyn Iterator<Item = SgdOperands<'_>>,
        rule: SgdRule,
        scale: &GradientScale,
    ) -> Result<()> {
        sgd::step(operands, rule, scale)
    }
}
