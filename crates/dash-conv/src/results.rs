//! The mixture as it is defined: every candidate convolved on its own, the results added up.
//!
//! This is what the mixture over the union of taps is compared with. It is given every advantage that
//! leaves it what it is: one map of work space instead of one per candidate, and gradients of the
//! coefficients from those of the weights, `<dy, conv(x, w)> = <w, dw>`.

use crate::{
    ConvProblem, Error, Planner, TapConv, TapSet,
    bias::bias_gradient,
    op::{Kernel, contiguous, with_values},
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// A mixture that is computed candidate by candidate: `sum_i c_i conv(x, w_i) + bias` (DASH,
/// sections 4.1 and 11, "mixed-results"). Weights and coefficients are those of [`crate::Mixture`].
pub struct ResultMixture {
    convs: Vec<TapConv>,
    groups: usize,
}

impl ResultMixture {
    /// The mixture of the given candidates, each convolved as `planner` decides.
    ///
    /// # Errors
    /// If there is no candidate, or `groups` or `stride` is zero.
    pub fn new(
        candidates: &[TapSet],
        groups: usize,
        stride: usize,
        planner: &Planner,
    ) -> std::result::Result<ResultMixture, Error> {
        if candidates.is_empty() {
            return Err(Error::NoTaps);
        }
        let conv = |taps: &TapSet| Ok(TapConv::new(taps.clone(), groups, stride)?.with_planner(planner));
        Ok(ResultMixture {
            convs: candidates.iter().map(conv).collect::<std::result::Result<_, _>>()?,
            groups,
        })
    }

    /// The convolutions of the candidates.
    pub fn convolutions(&self) -> &[TapConv] {
        &self.convs
    }

    /// Convolves `x`, `[B, C_in, n]` or `[B, C_in, H, W]`, with every candidate, adds the results
    /// with their `coefficients`, `[candidates]`, and adds `bias`, `[C_out]`. `weights` are the
    /// candidates' tensors `[C_out, C_in / groups, k(, k)]` flattened and joined. Differentiable in
    /// all four.
    ///
    /// # Errors
    /// If shapes do not fit, or a tensor is not f32 on the CPU.
    pub fn forward(
        &self,
        x: &Tensor,
        weights: &Tensor,
        coefficients: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor> {
        let c_out = bias.elem_count();
        let group_in = x.dims().get(1).copied().unwrap_or(0) / self.groups;
        let taps: usize = self.convs.iter().map(|conv| conv.taps().len()).sum();
        for (tensor, got, expected) in [
            ("the bias", bias.dims(), c_out),
            ("the candidates' weights", weights.dims(), c_out * group_in * taps),
            ("the coefficients", coefficients.dims(), self.convs.len()),
        ] {
            if got != [expected] {
                let (got, expected) = (got.to_vec(), format!("[{expected}]"));
                return Err(Error::Shape { tensor, got, expected }.into());
            }
        }
        let mut parts = Vec::with_capacity(self.convs.len());
        for conv in &self.convs {
            let problem = conv.problem(x.dims(), &[c_out, group_in, conv.taps().len()])?;
            parts.push(Part { kernel: conv.kernel(&problem, x.device())?, problem });
        }
        let mut shape = x.dims().to_vec();
        if let (Some(part), [_, channels, spatial @ ..]) = (parts.first(), shape.as_mut_slice()) {
            *channels = c_out;
            // With one axis, sizes are those of a map of one row.
            let out = part.problem.out_size();
            let skipped = out.len().saturating_sub(spatial.len());
            spatial.iter_mut().zip(out.into_iter().skip(skipped)).for_each(|(n, out)| *n = out);
        }
        // An operation takes three tensors: the two short ones travel as one.
        let factors = Tensor::cat(&[coefficients, bias], 0)?;
        let op = ResultsOp { parts, shape: Shape::from(shape) };
        x.contiguous()?.apply_op3(&weights.contiguous()?, &factors, op)
    }
}

/// One candidate.
struct Part {
    problem: ConvProblem,
    kernel: Arc<dyn Kernel>,
}

struct ResultsOp {
    /// At least one.
    parts: Vec<Part>,
    shape: Shape,
}

/// Elements per task of a sum of maps.
const BLOCK: usize = 16_384;

/// `sum += factor * values`.
fn add(sum: &mut [f32], factor: f32, values: &[f32]) {
    sum.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK)).for_each(|(sum, values)| {
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += factor * value;
        }
    });
}

impl ResultsOp {
    /// The weights of each candidate.
    fn weights<'a>(&self, mut all: &'a [f32]) -> Vec<&'a [f32]> {
        let take = |part: &Part| {
            let (own, rest) = all.split_at(part.problem.lens()[1]);
            all = rest;
            own
        };
        self.parts.iter().map(take).collect()
    }
}

impl CustomOp3 for ResultsOp {
    fn name(&self) -> &'static str {
        "mixed-results"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        factors: &CpuStorage,
        factors_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = contiguous(x, x_layout)?;
        let weights = self.weights(contiguous(weights, weights_layout)?);
        let (coefficients, bias) = contiguous(factors, factors_layout)?.split_at(self.parts.len());
        let none = vec![0.0; bias.len()];
        let mut y = vec![0.0; self.shape.elem_count()];
        let mut one = vec![0.0; y.len()];
        for (i, ((part, weights), &c)) in self.parts.iter().zip(weights).zip(coefficients).enumerate() {
            part.kernel.forward(x, weights, &none, &mut one);
            add(&mut y, c, &one);
            if i == 0 {
                let plane = part.problem.out_plane();
                y.par_chunks_mut(plane * bias.len()).for_each(|maps| {
                    for (map, &bias) in maps.chunks_exact_mut(plane).zip(bias) {
                        map.iter_mut().for_each(|value| *value += bias);
                    }
                });
            }
        }
        Ok((CpuStorage::F32(y), self.shape.clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weights: &Tensor,
        factors: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let mut dx = x.track_op().then(|| vec![0.0; x.elem_count()]);
        let mut one = vec![0.0; dx.as_ref().map_or(0, Vec::len)];
        let mut dw = vec![0.0; weights.elem_count()];
        let dfactors = with_values([x, weights, factors, &grad], |[x, weights, factors, grad]| {
            let mut dfactors = Vec::with_capacity(factors.len());
            let mut rest = dw.as_mut_slice();
            for ((part, weights), &c) in self.parts.iter().zip(self.weights(weights)).zip(factors) {
                let (dw, tail) = std::mem::take(&mut rest).split_at_mut(weights.len());
                rest = tail;
                // The gradient in x is linear in the weights: scaled weights give the scaled gradient.
                let scaled: Vec<f32> = weights.iter().map(|w| c * w).collect();
                let wanted = dx.is_some().then_some(one.as_mut_slice());
                part.kernel.backward(x, &scaled, grad, wanted, dw);
                if let Some(dx) = &mut dx {
                    add(dx, 1.0, &one);
                }
                let inner: f64 = weights.iter().zip(&*dw).map(|(w, dw)| f64::from(*w) * f64::from(*dw)).sum();
                dfactors.push(inner as f32);
                dw.iter_mut().for_each(|dw| *dw *= c);
            }
            if let Some(part) = self.parts.first() {
                dfactors.extend(bias_gradient(&part.problem, grad));
            }
            dfactors
        })?;
        let device = x.device();
        Ok((
            dx.map(|dx| Tensor::from_vec(dx, x.shape(), device)).transpose()?,
            Some(Tensor::from_vec(dw, weights.shape(), device)?),
            Some(Tensor::from_vec(dfactors, factors.shape(), device)?),
        ))
    }
}
