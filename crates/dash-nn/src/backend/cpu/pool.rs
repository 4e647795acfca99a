//! Computes the mean over all positions of [B, C, ...], and its gradient.

use super::{
    simd::{self, Sum},
    values::{Values, planes, planes_per_task},
};
use crate::backend::operations::{Backward, Computed};
use candle_core::{Result, Tensor, bail};
use dash_conv::zeros;
use rayon::prelude::*;

const OP: &str = "mean-over-positions";

pub(super) fn mean_over_positions(x: &Tensor) -> Result<Computed<Backward>> {
    let (b, c, n) = planes(OP, x.dims())?;
    if n == 0 {
        bail!("{OP}: no positions in {:?}", x.dims())
    }
    let means: Vec<f32> = Values::of(OP, x)?
        .as_slice()
        .par_chunks(n)
        .with_min_len(planes_per_task(n))
        .map(|plane| (simd::sum(Sum(plane)) / n as f64) as f32)
        .collect();
    let (value, shape) = (Tensor::from_vec(means, (b, c, 1), x.device())?, x.shape().clone());
    let backward: Backward = Box::new(move |grad| {
        let values = Values::of(OP, grad)?;
        let mut out = zeros(shape.elem_count());
        out.par_chunks_mut(n)
            .zip(values.as_slice())
            .with_min_len(planes_per_task(n))
            .for_each(|(plane, &g)| plane.fill((f64::from(g) / n as f64) as f32));
        Tensor::from_vec(out, &shape, grad.device())
    });
    Ok(Computed { value, backward: Some(backward) })
}
