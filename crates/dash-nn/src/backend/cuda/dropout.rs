//! Applies dropout on a GPU, with the masks of the CPU.

use crate::backend::operations::{Backward, Computed, DropoutMask};
use candle_core::{Result, Tensor};
use dash_core::random::{Purpose, stream_key};
use dash_cuda::Gpu;

pub(super) fn dropout(gpu: &Gpu, x: &Tensor, mask: DropoutMask) -> Result<Computed<Backward>> {
    let value = apply(gpu, x, mask)?;
    let gpu = gpu.clone();
    // Dropout is linear and symmetric: its gradient is itself, with the same mask drawn again.
    Ok(Computed { value, backward: Some(Box::new(move |grad| apply(&gpu, grad, mask))) })
}

fn apply(gpu: &Gpu, x: &Tensor, mask: DropoutMask) -> Result<Tensor> {
    let x = x.contiguous()?;
    let key = stream_key(mask.seed, Purpose::Dropout, [mask.step, mask.layer]);
    let (threshold, scale) = mask.threshold_and_scale();
    let y = dash_cuda::dropout(gpu, gpu.operand(&x)?.read(), key, DropoutMask::BLOCK, threshold, scale)?;
    gpu.tensor(y, x.shape())
}
