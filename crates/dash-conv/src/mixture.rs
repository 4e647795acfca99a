//! Mixes candidate kernels: the weights of all candidates become the weights of one tap set.

use crate::{
    Error, TapSet,
    cuda::MixtureTable,
    values::{contiguous, with_values},
};
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use dash_cuda::Gpu;
use rayon::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// The aggregation `A = sum_i c_i w_i` of DASH (section 4.1), from candidate kernels with their own taps to the union of all
/// taps. The dense kernel of the largest extent never exists.
#[derive(Clone)]
pub struct Mixture {
    taps: TapSet,
    /// For each candidate, the indices of its taps in the union.
    tap_indices: Arc<Vec<Vec<usize>>>,
    /// The tables on a GPU, for the number of channel pairs of the last call.
    table: Arc<Mutex<Option<Table>>>,
}

/// A table, and its number of channel pairs.
type Table = (usize, Arc<MixtureTable>);

impl Mixture {
    /// The mixture of the given candidates.
    ///
    /// # Errors
    /// If there is no candidate, or the candidates differ in their number of axes.
    pub fn new(candidates: &[TapSet]) -> std::result::Result<Mixture, Error> {
        let (taps, tap_indices) = TapSet::union(candidates)?;
        Ok(Mixture { taps, tap_indices: Arc::new(tap_indices), table: Arc::default() })
    }

    /// The union of the candidates' taps.
    pub fn taps(&self) -> &TapSet {
        &self.taps
    }

    /// The number of candidates.
    pub fn candidates(&self) -> usize {
        self.tap_indices.len()
    }

    /// The number of elements of the flat tensor with all candidates' weights for `pairs` pairs of output and input channel.
    pub fn weights_len(&self, pairs: usize) -> usize {
        pairs * self.tap_indices.iter().map(Vec::len).sum::<usize>()
    }

    /// Mixes `weights`, the candidates' tensors `[c_out, group_in, k(, k)]` flattened and joined in candidate order, with the
    /// mixing weights `coefficients`, `[candidates]`, to `[c_out, group_in, taps]`, on the CPU. Differentiable in both.
    ///
    /// # Errors
    /// If shapes do not fit, or a tensor is not f32 or not on the CPU.
    pub fn mix(
        &self,
        weights: &Tensor,
        coefficients: &Tensor,
        c_out: usize,
        group_in: usize,
    ) -> Result<Tensor> {
        let (weights, coefficients) = self.checked(weights, coefficients, c_out * group_in)?;
        let (pairs, shape) = (c_out * group_in, self.mixed_shape(c_out, group_in));
        weights.apply_op2(&coefficients, MixOp { tap_indices: self.tap_indices.clone(), pairs, shape })
    }

    /// The shape of the mixed weights.
    pub fn mixed_shape(&self, c_out: usize, group_in: usize) -> Shape {
        Shape::from((c_out, group_in, self.taps.len()))
    }

    /// Contiguous operands, if they fit this mixture.
    fn checked(&self, weights: &Tensor, coefficients: &Tensor, pairs: usize) -> Result<(Tensor, Tensor)> {
        for (tensor, got, expected) in [
            ("the candidates' weights", weights.dims(), self.weights_len(pairs)),
            ("the coefficients", coefficients.dims(), self.candidates()),
        ] {
            if got != [expected] {
                let (got, expected) = (got.to_vec(), format!("[{expected}]"));
                return Err(Error::Shape { tensor, got, expected }.into());
            }
        }
        Ok((weights.contiguous()?, coefficients.contiguous()?))
    }

    /// [`Mixture::mix`] on a GPU or its emulator.
    ///
    /// # Errors
    /// If shapes do not fit, a tensor is not f32 or not on the GPU, or the GPU fails.
    pub fn mix_on_gpu(
        &self,
        gpu: &Gpu,
        weights: &Tensor,
        coefficients: &Tensor,
        c_out: usize,
        group_in: usize,
    ) -> Result<Tensor> {
        let (pairs, shape) = (c_out * group_in, self.mixed_shape(c_out, group_in));
        let (weights, coefficients) = &self.checked(weights, coefficients, pairs)?;
        let table = {
            let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            match &*kept {
                Some((of, table)) if *of == pairs => table.clone(),
                _ => {
                    let table = Arc::new(MixtureTable::new(gpu, &self.tap_indices, self.taps.len(), pairs)?);
                    *kept = Some((pairs, table.clone()));
                    table
                }
            }
        };
        let value = {
            let (weights, coefficients) = (gpu.operand(weights)?, gpu.operand(coefficients)?);
            table.mix(gpu, weights.read(), coefficients.read())?
        };
        let (on, value) = (gpu.clone(), gpu.tensor(value, shape)?);
        gpu.node("mixture", [weights, coefficients], &value, move |[weights, coefficients], grad| {
            let [dw, dc] = {
                let [w, c, g] = [on.operand(weights)?, on.operand(coefficients)?, on.operand(grad)?];
                table.gradients(&on, w.read(), c.read(), g.read())?
            };
            Ok([Some(on.tensor(dw, weights.shape())?), Some(on.tensor(dc, coefficients.shape())?)])
        })
    }
}

struct MixOp {
    tap_indices: Arc<Vec<Vec<usize>>>,
    pairs: usize,
    shape: Shape,
}

/// The number of channel pairs of a task: fixed, so that sums are formed in the same order for any number of threads.
const PAIRS: usize = 64;

impl MixOp {
    fn taps(&self) -> usize {
        self.shape.elem_count() / self.pairs
    }

    /// For each candidate, its tap indices, and the range of its weights for a channel pair.
    fn candidates(
        &self,
    ) -> impl Iterator<Item = (&[usize], impl Fn(usize) -> std::ops::Range<usize> + use<>)> {
        let pairs = self.pairs;
        self.tap_indices.iter().scan(0, move |start, tap_indices| {
            let (first, len) = (*start, tap_indices.len());
            *start += pairs * len;
            Some((tap_indices.as_slice(), move |pair: usize| first + pair * len..first + (pair + 1) * len))
        })
    }
}

impl CustomOp2 for MixOp {
    fn name(&self) -> &'static str {
        "mixture"
    }

    fn cpu_fwd(
        &self,
        weights: &CpuStorage,
        weights_layout: &Layout,
        coefficients: &CpuStorage,
        coefficients_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let weights = contiguous(weights, weights_layout)?;
        let coefficients = contiguous(coefficients, coefficients_layout)?;
        let taps = self.taps();
        let mut out = vec![0.0f32; self.pairs * taps];
        out.par_chunks_mut(PAIRS * taps).enumerate().for_each(|(task, out)| {
            for ((tap_indices, range), &c) in self.candidates().zip(coefficients) {
                for (pair, out) in out.chunks_exact_mut(taps).enumerate() {
                    for (&tap_index, w) in tap_indices.iter().zip(&weights[range(task * PAIRS + pair)]) {
                        out[tap_index] += c * w;
                    }
                }
            }
        });
        Ok((CpuStorage::F32(out), self.shape.clone()))
    }

    /// `dw_i = c_i dA[taps of i]`, `dc_i = <w_i, dA[taps of i]>` (section 4.3).
    fn bwd(
        &self,
        weights: &Tensor,
        coefficients: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let taps = self.taps();
        let (dw, dc) = with_values([weights, coefficients, &grad], |[weights, coefficients, grad]| {
            let mut dw = vec![0.0f32; weights.len()];
            let mut rest = dw.as_mut_slice();
            let mut dc = Vec::with_capacity(coefficients.len());
            for ((tap_indices, range), &c) in self.candidates().zip(coefficients) {
                let (dw, tail) = std::mem::take(&mut rest).split_at_mut(self.pairs * tap_indices.len());
                rest = tail;
                let parts: Vec<f64> = dw
                    .par_chunks_mut(PAIRS * tap_indices.len())
                    .enumerate()
                    .map(|(task, dw)| {
                        let mut inner = 0.0;
                        for (slot, dw) in dw.chunks_exact_mut(tap_indices.len()).enumerate() {
                            let pair = task * PAIRS + slot;
                            let grad = &grad[pair * taps..(pair + 1) * taps];
                            let own = dw.iter_mut().zip(&weights[range(pair)]);
                            for ((dw, w), &tap_index) in own.zip(tap_indices) {
                                *dw = c * grad[tap_index];
                                inner += f64::from(*w) * f64::from(grad[tap_index]);
                            }
                        }
                        inner
                    })
                    .collect();
                dc.push(parts.iter().sum::<f64>() as f32);
            }
            (dw, dc)
        })?;
        let device = weights.device();
        Ok((
            Some(Tensor::from_vec(dw, weights.shape(), device)?),
            Some(Tensor::from_vec(dc, coefficients.shape(), device)?),
        ))
    }
}
