//! Computes the mean over all positions of [B, C, ...] on a GPU, and its gradient.

use crate::backend::{
    cpu::planes,
    operations::{Backward, Computed},
};
use candle_core::{Result, Tensor, bail};
use dash_cuda::{Gpu, mean_backward, mean_forward};

const OP: &str = "mean-over-positions";

pub(super) fn mean_over_positions(gpu: &Gpu, x: &Tensor) -> Result<Computed<Backward>> {
    let (b, c, n) = planes(OP, x.dims())?;
    if n == 0 {
        bail!("{OP}: no positions in {:?}", x.dims())
    }
    let means = mean_forward(gpu, gpu.operand(x)?.read(), n)?;
    let value = gpu.tensor(means, (b, c, 1))?;
    let (gpu, shape) = (gpu.clone(), x.shape().clone());
    let backward: Backward = Box::new(move |grad| {
        let grad = grad.contiguous()?;
        let dx = mean_backward(&gpu, gpu.operand(&grad)?.read(), n)?;
        gpu.tensor(dx, &shape)
    });
    Ok(Computed { value, backward: Some(backward) })
}
