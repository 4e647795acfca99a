//! Computes what losses of logits share.
//!
//! Exponentials and logarithms are those of the crate `libm`, and not of the system: what the system's library computes
//! depends on the CPU and on its version.

use candle_core::{Layout, Result, bail};
use libm::{exp, log1p};

/// Largest logit and the sum of exponentials relative to it.
pub(super) fn normaliser(row: &[f32]) -> (f64, f64) {
    let max = row.iter().fold(f64::NEG_INFINITY, |m, &v| m.max(f64::from(v)));
    (max, row.iter().map(|&v| exp(f64::from(v) - max)).sum())
}

/// (B, K) of logits, if there is one class below K for each of their rows.
pub(super) fn checked(op: &str, layout: &Layout, classes: &[u32]) -> Result<(usize, usize)> {
    let &[b, k] = layout.dims() else { bail!("{op}: expected [B, K], got {:?}", layout.dims()) };
    if b == 0 || classes.len() != b || classes.iter().any(|&c| c as usize >= k) {
        bail!("{op}: {} classes do not fit logits {:?}", classes.len(), layout.dims())
    }
    Ok((b, k))
}

/// 1 / (1 + e^-x).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + exp(-x))
}

/// ln(1 + e^x), for any x.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + log1p(exp(-x.abs()))
}
