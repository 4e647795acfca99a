//! Mean over all positions of [B, C, ...].

use super::{
    Values,
    kernels::{self, Sum},
    operand, planes, planes_per_task};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

struct MeanOverPositions;

/// [B, C, ...] -> [B, C, 1].
pub(crate) fn mean_over_positions(x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(MeanOverPositions)
}

impl CustomOp1 for MeanOverPositions {
    fn name(&self) -> &'static str {
        "mean-over-positions"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (b, c, n) = planes(self.name(), layout.dims())?;
        if n == 0 {
            bail!("{}: no positions in {:?}", self.name(), layout.dims())
        }
        let x = operand(self.name(), x, layout)?;
        let means = x
            .par_chunks(n)
            .with_min_len(planes_per_task(n))
            .map(|plane| (kernels::run(Sum(plane)) / n as f64) as f32)
            .collect();
        Ok((CpuStorage::F32(means), Shape::from((b, c, 1))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, _, n) = planes(self.name(), x.dims())?;
        let grad = grad.contiguous()?;
        let values = Values::of(self.name(), &grad)?;
        let mut out = vec![0f32; x.elem_count()];
        out.par_chunks_mut(n)
            .zip(values.as_slice())
            .with_min_len(planes_per_task(n))
            .for_each(|(plane, &g)| plane.fill((f64::from(g) / n as f64) as f32));
        Ok(Some(Tensor::from_vec(out, x.shape(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, ramp};

    #[test]
    fn values_and_gradients_follow_the_definition() {
        for dims in [vec![2, 3, 13], vec![3, 2, 4, 5], vec![1, 1, 1]] {
            let n: usize = dims[2..].iter().product();
            check_gradients(
                &[(dims.clone(), ramp(dims.iter().product(), 4))],
                |t| mean_over_positions(&t[0]),
                |v| v[0].chunks(n).map(|p| p.iter().sum::<f64>() / n as f64).collect(),
            );
        }
    }
}
