//! Checks what losses of fields have in common.

use crate::backend::cpu::values::planes;
use candle_core::{Result, bail};
use dash_core::card::Scaling;

/// Elements per sample, if output, target and scaling agree.
pub(super) fn len_per_sample(
    op: &str,
    dims: &[usize],
    target: &[f32],
    scaling: Option<&Scaling>,
) -> Result<usize> {
    let (b, c, n) = planes(op, dims)?;
    let len = c * n;
    let scaled = |s: &Scaling| s.mean.len() == len && s.scale.len() == len;
    if b * len == 0 || target.len() != b * len || !scaling.is_none_or(scaled) {
        bail!("{op}: output {dims:?}, {} target values, or scaling disagree", target.len())
    }
    Ok(len)
}
