//! Mean over all positions of [B, C, ...].

use super::{
    Values,
    kernels::{self, Sum},
    planes, planes_per_task,
};
use crate::Activation;
use candle_core::{Result, Tensor, bail};
use dash_conv::zeros;
use dash_cuda::{Gpu, mean_backward, mean_forward};
use rayon::prelude::*;

const OP: &str = "mean-over-positions";

/// [B, C, ...] -> [B, C, 1].
pub(crate) fn mean_over_positions(x: &Activation) -> Result<Activation> {
    let value = x.value();
    let (b, c, n) = planes(OP, value.dims())?;
    if n == 0 {
        bail!("{OP}: no positions in {:?}", value.dims())
    }
    let shape = value.shape().clone();
    if let Some(gpu) = Gpu::of(value.device()) {
        let means = mean_forward(&gpu, gpu.operand(value)?.read(), n)?;
        let means = gpu.tensor(means, (b, c, 1))?;
        return x.map(OP, means, move |grad| {
            let grad = grad.contiguous()?;
            let dx = mean_backward(&gpu, gpu.operand(&grad)?.read(), n)?;
            gpu.tensor(dx, &shape)
        });
    }
    let means: Vec<f32> = Values::of(OP, value)?
        .as_slice()
        .par_chunks(n)
        .with_min_len(planes_per_task(n))
        .map(|plane| (kernels::sum(Sum(plane)) / n as f64) as f32)
        .collect();
    let means = Tensor::from_vec(means, (b, c, 1), value.device())?;
    x.map(OP, means, move |grad| {
        let values = Values::of(OP, grad)?;
        let mut out = zeros(shape.elem_count());
        out.par_chunks_mut(n)
            .zip(values.as_slice())
            .with_min_len(planes_per_task(n))
            .for_each(|(plane, &g)| plane.fill((f64::from(g) / n as f64) as f32));
        Tensor::from_vec(out, &shape, grad.device())
    })
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
                |t| mean_over_positions(&Activation::from_tensor(&t[0])?)?.into_tensor(),
                |v| v[0].chunks(n).map(|p| p.iter().sum::<f64>() / n as f64).collect(),
            );
        }
    }
}
