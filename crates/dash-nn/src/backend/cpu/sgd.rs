//! Computes the norm of gradients, and takes steps of stochastic gradient descent.

use super::values::Values;
use crate::backend::operations::{GradientScale, SgdOperands, SgdRule};
use candle_core::{CpuStorage, InplaceOp3, Layout, Tensor, bail};
use rayon::prelude::*;

/// Elements per task; part of the order of summation of norms.
const BLOCK: usize = 16_384;

/// L2 norm over all gradients, which are on the CPU.
pub(crate) fn gradient_norm(gradients: &[Tensor]) -> candle_core::Result<f64> {
    let mut total = 0f64;
    for tensor in gradients {
        let values = Values::of("gradient-norm", tensor)?;
        let blocks: Vec<f64> = values
            .as_slice()
            .par_chunks(BLOCK)
            .map(|block| block.iter().map(|&v| f64::from(v) * f64::from(v)).sum())
            .collect();
        total += blocks.iter().sum::<f64>();
    }
    Ok(total.sqrt())
}

pub(super) fn step(
    operands: &mut dyn Iterator<Item = SgdOperands<'_>>,
    rule: SgdRule,
    scale: &GradientScale,
) -> candle_core::Result<()> {
    let scale = match scale {
        GradientScale::Known(scale) => *scale as f32,
        GradientScale::OnDevice(scale) => scale.reshape(())?.to_scalar()?,
    };
    for SgdOperands { values, gradient, buffer, rate } in operands {
        let rule = Rule {
            scale,
            decay: rule.weight_decay as f32,
            momentum: rule.momentum as f32,
            rate: rate as f32,
        };
        buffer.inplace_op3(values, gradient, &Accumulate(rule))?;
        values.inplace_op3(buffer, gradient, &Descend(rule))?;
    }
    Ok(())
}

/// The constants in the precision of the parameters.
#[derive(Clone, Copy)]
struct Rule {
    scale: f32,
    decay: f32,
    momentum: f32,
    rate: f32,
}

fn in_place(
    op: &str,
    dst: &mut CpuStorage,
    dst_layout: &Layout,
    [(a, a_layout), (b, b_layout)]: [(&CpuStorage, &Layout); 2],
    f: impl Fn(&mut f32, f32, f32) + Sync,
) -> candle_core::Result<()> {
    let (CpuStorage::F32(dst), CpuStorage::F32(a), CpuStorage::F32(b)) = (dst, a, b) else {
        bail!("{op}: f32 tensors expected")
    };
    let range = |layout: &Layout| layout.contiguous_offsets().map(|(start, end)| start..end);
    let slices = (
        range(dst_layout).and_then(|r| dst.get_mut(r)),
        range(a_layout).and_then(|r| a.get(r)),
        range(b_layout).and_then(|r| b.get(r)),
    );
    let (Some(dst), Some(a), Some(b)) = slices else { bail!("{op}: contiguous tensors expected") };
    if dst.len() != a.len() || dst.len() != b.len() {
        bail!("{op}: {} values, operands of {} and {}", dst.len(), a.len(), b.len())
    }
    (dst.par_chunks_mut(BLOCK), a.par_chunks(BLOCK), b.par_chunks(BLOCK)).into_par_iter().for_each(
        |(dst, a, b)| {
            for ((dst, &a), &b) in dst.iter_mut().zip(a).zip(b) {
                f(dst, a, b);
            }
        },
    );
    Ok(())
}

/// buffer <- momentum buffer + (scale g + decay p)
struct Accumulate(Rule);

impl InplaceOp3 for Accumulate {
    fn name(&self) -> &'static str {
        "sgd-accumulate"
    }

    fn cpu_fwd(
        &self,
        buffer: &mut CpuStorage,
        layout: &Layout,
        p: &CpuStorage,
        p_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> candle_core::Result<()> {
        let sources = [(p, p_layout), (g, g_layout)];
        let Rule { scale, decay, momentum, .. } = self.0;
        in_place(self.name(), buffer, layout, sources, |buffer, p, g| {
            *buffer = momentum * *buffer + (scale * g + decay * p);
        })
    }
}

/// p <- p - rate ((scale g + decay p) + momentum buffer)
struct Descend(Rule);

impl InplaceOp3 for Descend {
    fn name(&self) -> &'static str {
        "sgd-descend"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        layout: &Layout,
        buffer: &CpuStorage,
        buffer_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> candle_core::Result<()> {
        let sources = [(buffer, buffer_layout), (g, g_layout)];
        let Rule { scale, decay, momentum, rate } = self.0;
        in_place(self.name(), p, layout, sources, |p, buffer, g| {
            *p -= rate * ((scale * g + decay * *p) + momentum * buffer);
        })
    }
}
