//! Holds the activations of a network, and applies operations to them.
//!
//! candle's backward pass zeroes a tensor and adds to it for every gradient of every operation, on
//! one thread. For activations of some megabytes that is a large part of a training step. So the
//! values of activations are not nodes of candle's graph. Each activation has a tape node there instead, a
//! tensor of one element, and a gradient slot, in which the operations that consume the activation add up its
//! gradient. candle visits tape nodes in reverse topological order: all consumers of an activation have
//! added their gradients before the operation that produced it takes the sum. The gradients of
//! tape nodes are zeros that only continue the visit; gradients of parameters are candle's.

mod gradient;
mod nodes;

use crate::backend::{Backend, Backward, Computed, DropoutMask, NormOperands, ParamBackward, ShapeBackend};
use candle_core::{DType, Result, Shape, Tensor};
use dash_conv::{MixedResults, TapConv};
use gradient::GradientSlot;
use nodes::{Add, Attach, Detach, Parametrised, Reshape, Unary};
use std::sync::Arc;

/// What flows between the operations of a network: values, what their gradient needs, and the backend that computes.
///
/// Clones are the same activation.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Contiguous, outside of candle's graph.
    value: Tensor,
    /// One element; the node of candle's graph, if any operand before needs a gradient.
    node: Tensor,
    gradient: GradientSlot,
}

impl Activation {
    /// The activation of `backend` that has the values of `x`. The gradient continues to `x` if that is part of a graph.
    ///
    /// # Errors
    /// If candle fails.
    pub fn from_tensor(backend: &Backend, x: &Tensor) -> Result<Activation> {
        let value = backend.detach(x)?;
        let gradient = GradientSlot::new(backend);
        let node = x.apply_op1(Attach(gradient.clone()))?;
        Ok(Activation { value, node, gradient })
    }

    /// An activation that has a shape and no values, whose operations are recorded.
    pub(crate) fn of_shape(recorder: ShapeBackend, shape: &[usize]) -> Result<Activation> {
        let value = recorder.tensor(shape)?;
        Activation::from_tensor(&Backend::new(recorder), &value)
    }

    /// The values as a tensor of candle's graph.
    ///
    /// # Errors
    /// If the values are not f32.
    pub fn into_tensor(self) -> Result<Tensor> {
        if !self.node.track_op() {
            return Ok(self.value);
        }
        self.node.apply_op1(Detach { value: self.value, gradient: self.gradient })
    }

    /// The values, outside of any graph.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// What computes operations on this activation.
    pub fn backend(&self) -> &Backend {
        self.gradient.backend()
    }

    /// The convolution of this activation with `weights` and `bias` (see [`TapConv::forward`]).
    ///
    /// # Errors
    /// If shapes do not fit, or a tensor is not f32.
    pub fn convolve(&self, conv: &Arc<TapConv>, weights: &Tensor, bias: &Tensor) -> Result<Activation> {
        let output = self.backend().convolve(&self.value, conv, weights, bias)?;
        self.parametrised("tap-conv", output, [weights, bias])
    }

    /// The mixed operation of this activation, computed candidate by candidate (see [`MixedResults::forward`]).
    ///
    /// # Errors
    /// If shapes do not fit, or a tensor is not f32.
    pub fn mix_results(
        &self,
        mixture: &MixedResults,
        weights: &Tensor,
        mixing_weights: &Tensor,
        bias: &Tensor,
    ) -> Result<Activation> {
        let (backend, x) = (self.backend().clone(), self.clone().into_tensor()?);
        let y = backend.mix_results(mixture, &x, weights, mixing_weights, bias)?;
        Activation::from_tensor(&backend, &y)
    }

    /// The batch normalisation of this activation, and the new running statistics where they change.
    pub(crate) fn batch_norm(&self, operands: NormOperands<'_>) -> Result<(Activation, Option<[Tensor; 2]>)> {
        let found = self.backend().batch_norm(&self.value, operands)?;
        let output = self.parametrised("batch-norm", found.output, [operands.weight, operands.bias])?;
        Ok((output, found.running))
    }

    /// [B, C, ...] -> [B, C, 1].
    pub(crate) fn mean_over_positions(&self) -> Result<Activation> {
        self.unary("mean-over-positions", self.backend().mean_over_positions(&self.value)?)
    }

    pub(crate) fn dropout(&self, mask: DropoutMask) -> Result<Activation> {
        self.unary("dropout", self.backend().dropout(&self.value, mask)?)
    }

    /// The sum with an activation of the same shape.
    pub(crate) fn add(&self, other: &Activation) -> Result<Activation> {
        let value = self.backend().add(&self.value, &other.value)?;
        let output = self.slot();
        let node = Add { inputs: [self.gradient.clone(), other.gradient.clone()], output: output.clone() };
        Ok(Activation { value, node: self.node.apply_op2(&other.node, node)?, gradient: output })
    }

    /// The same values in another shape.
    pub(crate) fn reshape(&self, shape: impl Into<Shape>) -> Result<Activation> {
        let output = self.slot();
        let node = Reshape {
            shape: self.value.shape().clone(),
            input: self.gradient.clone(),
            output: output.clone(),
        };
        let value = self.value.reshape(shape.into())?;
        Ok(Activation { value, node: self.node.apply_op1(node)?, gradient: output })
    }

    fn slot(&self) -> GradientSlot {
        GradientSlot::new(self.backend())
    }

    /// A value that nothing needs a gradient of.
    fn constant(&self, value: Tensor) -> Result<Activation> {
        let node = Tensor::zeros(1, DType::F32, value.device())?;
        Ok(Activation { value, node, gradient: self.slot() })
    }

    /// The output of an operation on this activation. Its gradient rule is kept only if something asks for a gradient.
    fn unary(&self, name: &'static str, output: Computed<Backward>) -> Result<Activation> {
        let Computed { value, backward: Some(backward) } = output else { return self.constant(output.value) };
        let output = self.slot();
        let node = Unary { name, input: self.gradient.clone(), output: output.clone(), backward };
        Ok(Activation { value, node: self.node.apply_op1(node)?, gradient: output })
    }

    /// The same for an operation that has two parameters.
    fn parametrised(
        &self,
        name: &'static str,
        output: Computed<ParamBackward>,
        parameters: [&Tensor; 2],
    ) -> Result<Activation> {
        let Computed { value, backward: Some(backward) } = output else { return self.constant(output.value) };
        let output = self.slot();
        let node = Parametrised { name, input: self.gradient.clone(), output: output.clone(), backward };
        let node = self.node.apply_op3(parameters[0], parameters[1], node)?;
        Ok(Activation { value, node, gradient: output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check_gradients, ramp};
    use crate::{FixedKernels, ForwardContext, ParamBuilder, build};
    use candle_core::{Device, Var};
    use dash_conv::{ConvOptions, TapSet};
    use dash_core::pipeline::Backbone;

    const TRAINING: ForwardContext = ForwardContext { training: true, seed: 1, epoch: 0, step: 0 };

    fn attached(t: &Tensor) -> Activation {
        Activation::from_tensor(&Backend::cpu(), t).unwrap()
    }

    fn values(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Three taps at distance one over [2, 2, 5], in f64.
    fn naive_conv(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let at = |i: usize| {
            let (sample, c_out, position) = (i / 10, i / 5 % 2, i % 5);
            let terms = (0..2).flat_map(|c_in| (0..3).map(move |tap| (c_in, tap))).map(|(c_in, tap)| {
                let from = (position + tap).checked_sub(1).filter(|&p| p < 5);
                from.map_or(0.0, |p| x[(sample * 2 + c_in) * 5 + p] * w[(c_out * 2 + c_in) * 3 + tap])
            });
            b[c_out] + terms.sum::<f64>()
        };
        (0..20).map(at).collect()
    }

    #[test]
    fn gradients_through_residual_sums_follow_the_definition() {
        let conv = Arc::new(TapConv::new(TapSet::centred(1, 3, 1).unwrap(), ConvOptions::default()).unwrap());
        let inputs = [(vec![2, 2, 5], ramp(20, 1)), (vec![2, 2, 3], ramp(12, 2)), (vec![2], ramp(2, 3))];
        // The block's input is consumed by the convolution, the shortcut, and itself once more.
        for shortcut_first in [false, true] {
            check_gradients(
                &Backend::cpu(),
                &inputs,
                |t| {
                    let x = attached(&t[0]);
                    let (twice, h) = if shortcut_first {
                        let twice = x.add(&x)?;
                        (twice, x.convolve(&conv, &t[1], &t[2])?)
                    } else {
                        let h = x.convolve(&conv, &t[1], &t[2])?;
                        (x.add(&x)?, h)
                    };
                    let sum = h.add(&twice)?;
                    sum.add(&sum.convolve(&conv, &t[1], &t[2])?)?.into_tensor()
                },
                |v| {
                    let h = naive_conv(&v[0], &v[1], &v[2]);
                    let sum: Vec<f64> = h.iter().zip(&v[0]).map(|(h, x)| h + 2.0 * x).collect();
                    naive_conv(&sum, &v[1], &v[2]).iter().zip(&sum).map(|(h, s)| h + s).collect()
                },
            );
        }
    }

    /// Both inputs of a sum get the same memory as gradient; what is added to one of them must not
    /// reach the other, whatever is visited first.
    #[test]
    fn sums_do_not_mix_up_the_gradients_of_their_inputs() {
        let ones =
            |salt| Var::from_tensor(&Tensor::from_vec(ramp(6, salt), 6, &Device::Cpu).unwrap()).unwrap();
        let (a, b) = (ones(1), ones(2));
        let tenfold = |x: &Activation| {
            let y = (x.value() * 10.0).unwrap();
            x.unary("tenfold", Computed { value: y, backward: Some(Box::new(|grad| grad * 10.0)) }).unwrap()
        };
        for order in 0..4 {
            let (x, y) = (attached(&a), attached(&b));
            let early = (order % 2 == 0).then(|| tenfold(&x));
            let sum = if order < 2 { x.add(&y).unwrap() } else { y.add(&x).unwrap() };
            let late = early.unwrap_or_else(|| tenfold(&x));
            let out = if order % 2 == 0 { sum.add(&late) } else { late.add(&sum) };
            let loss = out.unwrap().into_tensor().unwrap().sum_all().unwrap();
            // The graph can be visited more than once.
            for _ in 0..2 {
                let grads = loss.backward().unwrap();
                assert_eq!(values(grads.get(&a).unwrap()), [11.0; 6]);
                assert_eq!(values(grads.get(&b).unwrap()), [1.0; 6]);
            }
        }
    }

    #[test]
    fn shapes_of_sums_must_agree() {
        let zeros = |n: usize| attached(&Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap());
        assert!(zeros(3).add(&zeros(4)).is_err());
    }

    #[test]
    fn nothing_is_kept_where_nothing_needs_a_gradient() {
        let x = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        let witness = Arc::new(());
        let kept = |x: &Tensor| {
            let x = attached(x);
            let held = witness.clone();
            let backward: Backward = Box::new(move |grad| {
                let _ = &held;
                Ok(grad.clone())
            });
            let y = x.unary("test", Computed { value: x.value().clone(), backward: Some(backward) }).unwrap();
            let count = Arc::strong_count(&witness);
            (count - 1, y.into_tensor().unwrap().track_op())
        };
        assert_eq!(kept(&x), (0, false));
        assert_eq!(kept(&Var::from_tensor(&x).unwrap()), (1, true));
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit_of_a_training_step() {
        let resnet = Backbone::Resnet1d { channels: None, causal: true };
        let wrn = Backbone::Wrn { depth: 10, width: 1 };
        for (backbone, input) in [(resnet, vec![2, 3000]), (wrn, vec![2, 34, 30])] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let mut params = ParamBuilder::new(3, 0, &Backend::cpu());
                    let net =
                        build(&backbone, &input, 4, false, 0.1, &mut FixedKernels::default(), &mut params);
                    let (net, params) = (net.unwrap(), params.finish());
                    let dims = [&[3], input.as_slice()].concat();
                    let x = ramp(dims.iter().product(), 5);
                    let x = Tensor::from_vec(x, dims, &Device::Cpu).unwrap();
                    let loss = net.forward(&x, &TRAINING).unwrap().sqr().unwrap().sum_all().unwrap();
                    let grads = crate::Gradients::of(&loss, &params).unwrap();
                    let all = (0..params.len()).flat_map(|i| values(grads.get(i).unwrap()));
                    all.map(f32::to_bits).collect::<Vec<_>>()
                })
            };
            assert_eq!(run(1), run(4));
        }
    }
}
