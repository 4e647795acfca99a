//! The mixed operation as it is defined: every candidate is convolved on its own, and the results are summed.
//!
//! The mixture over the union of taps ([`crate::Mixture`]) is compared with this one, which is as fast as its definition
//! allows: one output of work space instead of one per candidate, and gradients of the mixing weights from those of the
//! weights, `<dy, conv(x, w)> = <w, dw>`.

use crate::{
    ConvOptions, ConvProblem, Error, Planner, TapConv, TapSet,
    algorithm::CpuConvolution,
    bias::bias_gradient,
    values::{contiguous, with_values},
};
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// A mixed operation that is computed candidate by candidate: `sum_i c_i conv(x, w_i) + bias` (DASH,
/// sections 4.1 and 11, "mixed-results"). Weights and coefficients are those of [`crate::Mixture`].
pub struct MixedResults {
    convs: Vec<TapConv>,
    groups: usize,
}

impl MixedResults {
    /// The mixture of the given candidates, each convolved as `planner` decides.
    ///
    /// # Errors
    /// If there is no candidate, or an option is zero.
    pub fn new(
        candidates: &[TapSet],
        options: ConvOptions,
        planner: &Planner,
    ) -> std::result::Result<MixedResults, Error> {
        if candidates.is_empty() {
            return Err(Error::NoTaps);
        }
        let conv = |taps: &TapSet| Ok(TapConv::new(taps.clone(), options)?.with_planner(planner));
        Ok(MixedResults {
            convs: candidates.iter().map(conv).collect::<std::result::Result<_, _>>()?,
            groups: options.groups,
        })
    }

    /// The number of groups of channels.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The convolutions of the candidates.
    pub fn convolutions(&self) -> &[TapConv] {
        &self.convs
    }

    /// Convolves `x`, `[batch, c_in, n]` or `[batch, c_in, h, w]`, with every candidate, sums the results with the mixing
    /// weights `coefficients`, `[candidates]`, and adds `bias`, `[c_out]`. `weights` are the candidates' tensors
    /// `[c_out, c_in / groups, k(, k)]` flattened and joined in candidate order. Differentiable in all four.
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
        let mut candidates = Vec::with_capacity(self.convs.len());
        for conv in &self.convs {
            let problem = conv.problem(x.dims(), &[c_out, group_in, conv.taps().len()])?;
            candidates
                .push(CandidateConv { convolution: conv.cpu_convolution(&problem, x.device())?, problem });
        }
        let mut shape = x.dims().to_vec();
        if let (Some(candidate), [_, channels, spatial @ ..]) = (candidates.first(), shape.as_mut_slice()) {
            *channels = c_out;
            // With one axis, sizes are those of a map of one row.
            let out = candidate.problem.out_size();
            let skipped = out.len().saturating_sub(spatial.len());
            spatial.iter_mut().zip(out.into_iter().skip(skipped)).for_each(|(n, out)| *n = out);
        }
        // An operation takes three tensors: the two short ones travel as one.
        let factors = Tensor::cat(&[coefficients, bias], 0)?;
        let op = ResultsOp { candidates, shape: Shape::from(shape) };
        x.contiguous()?.apply_op3(&weights.contiguous()?, &factors, op)
    }
}

/// The convolution of one candidate.
struct CandidateConv {
    problem: ConvProblem,
    convolution: Arc<dyn CpuConvolution>,
}

struct ResultsOp {
    /// At least one.
    candidates: Vec<CandidateConv>,
    shape: Shape,
}

/// The number of elements per task of a sum.
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
        let take = |candidate: &CandidateConv| {
            let (own, rest) = all.split_at(candidate.problem.lens()[1]);
            all = rest;
            own
        };
        self.candidates.iter().map(take).collect()
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
        let (coefficients, bias) = contiguous(factors, factors_layout)?.split_at(self.candidates.len());
        let none = vec![0.0; bias.len()];
        let mut y = vec![0.0; self.shape.elem_count()];
        let mut one = vec![0.0; y.len()];
        for (i, ((candidate, weights), &c)) in
            self.candidates.iter().zip(weights).zip(coefficients).enumerate()
        {
            candidate.convolution.forward(x, weights, &none, &mut one);
            add(&mut y, c, &one);
            if i == 0 {
                let plane = candidate.problem.out_plane();
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
            for ((candidate, weights), &c) in self.candidates.iter().zip(self.weights(weights)).zip(factors) {
                let (dw, tail) = std::mem::take(&mut rest).split_at_mut(weights.len());
                rest = tail;
                // The gradient in x is linear in the weights: scaled weights give the scaled gradient.
                let scaled: Vec<f32> = weights.iter().map(|w| c * w).collect();
                let wanted = dx.is_some().then_some(one.as_mut_slice());
                candidate.convolution.backward(x, &scaled, grad, wanted, dw);
                if let Some(dx) = &mut dx {
                    add(dx, 1.0, &one);
                }
                let inner: f64 = weights.iter().zip(&*dw).map(|(w, dw)| f64::from(*w) * f64::from(*dw)).sum();
                dfactors.push(inner as f32);
                dw.iter_mut().for_each(|dw| *dw *= c);
            }
            if let Some(candidate) = self.candidates.first() {
                dfactors.extend(bias_gradient(&candidate.problem, grad));
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
