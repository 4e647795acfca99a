//! Computes nothing but shapes, and records what a network needs: the convolutions of a forward pass, and the memory of a
//! training step.
//!
//! Its tensors have one value that is broadcast to their shape, so that any shape costs no memory.

use super::{
    operations::{
        Backend, Backward, Computed, DropoutMask, GradientScale, NormOperands, Normalised, Operations,
        ParamBackward, SgdOperands, SgdRule,
    },
    scalar::PendingScalar,
};
use crate::{error::Error, targets::Targets};
use candle_core::{DType, Device, Result, Shape, Tensor, TensorId};
use dash_conv::{ConvProblem, MixedResults, Mixture, TapConv};
use dash_core::{card::Scaling, pipeline::Loss};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of a value.
const VALUE: u64 = 4;

/// The convolutions of one forward pass of a network, and the memory that it and its gradient need.
#[derive(Clone, Debug, Default)]
pub struct ShapeTrace {
    /// The convolutions in forward order.
    pub convolutions: Vec<ConvProblem>,
    saved: u64,
    transient: u64,
    /// The tensors that are counted in `saved`.
    counted: HashSet<TensorId>,
}

impl ShapeTrace {
    /// Bytes of the activations that are saved for the backward pass.
    pub fn saved(&self) -> u64 {
        self.saved
    }

    /// Peak bytes of activations and work space in a training step.
    pub fn training_peak(&self) -> u64 {
        self.saved.saturating_add(self.transient)
    }

    /// Peak bytes of activations and work space in an evaluation: of the operation that needs most, its operands, results
    /// and work space, and one more of its largest tensors, which a residual connection around it may hold.
    pub fn evaluation_peak(&self) -> u64 {
        self.transient
    }

    /// Counts a tensor that an operation saves for its gradient, unless another operation saves the same one.
    fn save(&mut self, x: &Tensor) {
        if self.counted.insert(x.id()) {
            self.saved = self.saved.saturating_add(bytes(x.dims()));
        }
    }

    /// Counts the operands and results of an operation that needs `work` bytes besides.
    fn pass(&mut self, shapes: &[&[usize]], work: u64) {
        let sizes = || shapes.iter().map(|shape| bytes(shape));
        let sum = sizes().chain([sizes().max().unwrap_or(0), work]).fold(0, u64::saturating_add);
        self.transient = self.transient.max(sum);
    }
}

/// Bytes of a tensor of this shape.
fn bytes(shape: &[usize]) -> u64 {
    shape.iter().fold(VALUE, |bytes, &n| bytes.saturating_mul(n as u64))
}

/// A backend that records shapes in place of another that would compute. Clones record into the same trace.
#[derive(Clone)]
pub struct ShapeBackend {
    /// The backend whose work space is counted.
    computing: Backend,
    trace: Arc<Mutex<ShapeTrace>>,
    /// Why a convolution was refused.
    refused: Arc<Mutex<Option<dash_conv::Error>>>,
}

impl ShapeBackend {
    /// An empty recorder of what `computing` would need.
    pub fn new(computing: &Backend) -> ShapeBackend {
        ShapeBackend { computing: computing.clone(), trace: Arc::default(), refused: Arc::default() }
    }

    /// What was recorded.
    pub fn trace(&self) -> ShapeTrace {
        self.recording().clone()
    }

    /// The error of a forward pass of shapes: if a convolution was refused, the configuration is at fault.
    pub(crate) fn error(&self, error: candle_core::Error) -> Error {
        match self.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(refused) => Error::Convolution(refused),
            None => Error::Tensor(error),
        }
    }

    /// Counts the output of a network: it becomes a tensor of its own, and the loss has a gradient of it.
    pub(crate) fn record_output(&self, y: &Tensor) {
        let mut trace = self.recording();
        trace.saved = trace.saved.saturating_add(bytes(y.dims()).saturating_mul(2));
    }

    fn recording(&self) -> MutexGuard<'_, ShapeTrace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tensor that has a shape and one value.
    pub(crate) fn tensor(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)
    }

    /// A result without a gradient rule.
    fn computed<B>(&self, shape: impl Into<Shape>) -> Result<Computed<B>> {
        Ok(Computed { value: self.tensor(shape)?, backward: None })
    }

    fn convolution(&self, conv: &TapConv, x: &Tensor, weights: &[usize]) -> Result<Shape> {
        let problem = conv.problem(x.dims(), weights).inspect_err(|refused| {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused.clone());
        })?;
        let shape = conv.out_shape(&problem);
        let work = self.computing.conv_workspace(&problem).saturating_add(2 * bytes(weights));
        let mut trace = self.recording();
        trace.save(x);
        trace.pass(&[x.dims(), shape.dims()], work);
        trace.convolutions.push(problem);
        Ok(shape)
    }

    /// An operation that is only for values.
    fn no_values<T>(&self) -> Result<T> {
        candle_core::bail!("a network without values can be traced, but not trained")
    }
}

impl Operations for ShapeBackend {
    fn name(&self) -> String {
        "shapes".to_owned()
    }

    fn device(&self) -> &Device {
        &Device::Cpu
    }

    fn conv_workspace(&self, problem: &ConvProblem) -> u64 {
        self.computing.conv_workspace(problem)
    }

    fn upload(&self, _: Vec<f32>, shape: Shape) -> Result<Tensor> {
        self.tensor(shape)
    }

    fn read_scalar(&self, _: &Tensor) -> Result<PendingScalar> {
        self.no_values()
    }

    fn detach(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.detach())
    }

    fn add(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        if a.dims() != b.dims() {
            candle_core::bail!("add: {:?} and {:?} differ in shape", a.dims(), b.dims())
        }
        self.recording().pass(&[a.dims(), b.dims()], 0);
        self.tensor(a.shape())
    }

    fn accumulate(&self, _: Tensor, _: &Tensor) -> Result<Tensor> {
        self.no_values()
    }

    fn convolve(
        &self,
        x: &Tensor,
        conv: &Arc<TapConv>,
        weights: &Tensor,
        _: &Tensor,
    ) -> Result<Computed<ParamBackward>> {
        self.computed(self.convolution(conv, x, weights.dims())?)
    }

    fn mix(
        &self,
        mixture: &Mixture,
        _: &Tensor,
        _: &Tensor,
        [c_out, group_in]: [usize; 2],
    ) -> Result<Tensor> {
        self.tensor(mixture.mixed_shape(c_out, group_in))
    }

    fn mix_results(
        &self,
        mixture: &MixedResults,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor> {
        let (c_out, group_in) = (bias.elem_count(), x.dim(1)? / mixture.groups());
        let mut shape = x.shape().clone();
        for conv in mixture.convolutions() {
            shape = self.convolution(conv, x, &[c_out, group_in, conv.taps().len()])?;
        }
        self.tensor(shape)
    }

    fn batch_norm(&self, x: &Tensor, _: NormOperands<'_>) -> Result<Normalised> {
        {
            let mut trace = self.recording();
            trace.save(x);
            trace.pass(&[x.dims(), x.dims()], 0);
        }
        Ok(Normalised { output: self.computed(x.shape())?, running: None })
    }

    fn mean_over_positions(&self, x: &Tensor) -> Result<Computed<Backward>> {
        let [b, c, ..] = *x.dims() else {
            candle_core::bail!("mean-over-positions: expected [B, C, ...], got {:?}", x.dims())
        };
        self.recording().pass(&[x.dims()], 0);
        self.computed((b, c, 1))
    }

    fn dropout(&self, x: &Tensor, _: DropoutMask) -> Result<Computed<Backward>> {
        self.recording().pass(&[x.dims(), x.dims()], 0);
        self.computed(x.shape())
    }

    fn loss(
        &self,
        _: &Tensor,
        _: Loss,
        _: Targets,
        _: Option<&Arc<Scaling>>,
    ) -> crate::error::Result<Tensor> {
        Ok(self.no_values()?)
    }

    fn mixing_weights(&self, alpha: &Tensor, _: Vec<f32>) -> Result<Tensor> {
        self.tensor(alpha.shape())
    }

    fn arch_gradient(&self, _: &Tensor, _: &[f64], _: f64) -> Result<Tensor> {
        self.no_values()
    }

    fn clip_scale(&self, _: &[Tensor], _: f64) -> Result<GradientScale> {
        self.no_values()
    }

    fn sgd_step(
        &self,
        _: &mut dyn Iterator<Item = SgdOperands<'_>>,
        _: SgdRule,
        _: &GradientScale,
    ) -> Result<()> {
        self.no_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FixedKernels, ForwardContext, ParamBuilder, build};
    use candle_core::{DType, Device, Tensor};
    use dash_conv::Planner;
    use dash_core::pipeline::Backbone;

    const WRN: Backbone = Backbone::Wrn { depth: 10, width: 1 };
    const RESNET: Backbone = Backbone::Resnet1d { channels: None, causal: true };

    fn trace(backbone: &Backbone, input: &[usize], dense: bool) -> ShapeTrace {
        let mut params = ParamBuilder::without_values(&Backend::cpu());
        let net =
            build(backbone, &input[1..], 4, dense, 0.1, &mut FixedKernels::default(), &mut params).unwrap();
        net.trace(input).unwrap()
    }

    #[test]
    fn the_convolutions_are_those_that_a_forward_pass_meets() {
        for (backbone, input, dense) in [
            (WRN, vec![3, 2, 11, 14], false),
            (WRN, vec![2, 1, 9, 9], true),
            (RESNET, vec![5, 2, 40], false),
            (RESNET, vec![5, 2, 40], true),
        ] {
            let planner = Planner::default();
            let mut params = ParamBuilder::new(0, 0, &Backend::cpu()).with_planner(&planner);
            let mut convs = FixedKernels::default();
            let net = build(&backbone, &input[1..], 4, dense, 0.1, &mut convs, &mut params).unwrap();
            let x = Tensor::ones(input.as_slice(), DType::F32, &Device::Cpu).unwrap();
            net.forward(&x, &ForwardContext { training: true, ..ForwardContext::evaluation() }).unwrap();
            let met: Vec<ConvProblem> = planner.choices().into_iter().map(|choice| choice.problem).collect();
            let mut found: Vec<ConvProblem> = Vec::new();
            for problem in trace(&backbone, &input, dense).convolutions {
                if !found.contains(&problem) {
                    found.push(problem);
                }
            }
            assert_eq!(found, met);
        }
    }

    /// Counted on paper: a dense WRN-10-1 on maps of n values saves the input of its stem; the inputs of both
    /// normalisations and both convolutions of its blocks of 16, 32 and 64 channels; those of its last
    /// normalisation and its head; and twice its outputs.
    #[test]
    fn the_inputs_of_all_operations_are_saved_once() {
        let n = 8 * 8_u64;
        let block = |c_in: u64, c_out: u64| 2 * c_in + 2 * c_out;
        let channels = 3 + block(16, 16) + block(16, 32) + block(32, 64) + 64 + 64 + 2 * 4;
        assert_eq!(trace(&WRN, &[2, 3, 8, 8], true).saved(), 4_u64 * 2 * n * channels);
    }

    #[test]
    fn a_gpu_needs_other_work_space_beside_the_same_activations() {
        let gpu = Backend::gpu(dash_cuda::Gpu::emulated());
        for (backbone, input) in [(WRN, vec![64, 3, 32, 32]), (RESNET, vec![64, 2, 400])] {
            let here = trace(&backbone, &input, false);
            let mut params = ParamBuilder::without_values(&gpu);
            let mut convs = FixedKernels::default();
            let net = build(&backbone, &input[1..], 4, false, 0.1, &mut convs, &mut params).unwrap();
            let there = net.trace(&input).unwrap();
            assert_eq!(there.saved(), here.saved());
            assert_eq!(there.convolutions, here.convolutions);
            let most = there.convolutions.iter().map(|p| gpu.conv_workspace(p)).max().unwrap();
            let peak = there.evaluation_peak();
            assert!(peak > most && peak <= most.max(here.evaluation_peak()) + here.saved());
            assert_ne!(peak, here.evaluation_peak());
        }
    }

    #[test]
    fn evaluation_needs_a_part_of_what_training_needs() {
        for (backbone, input) in [(WRN, vec![8, 3, 32, 32]), (RESNET, vec![8, 2, 400])] {
            let trace = trace(&backbone, &input, false);
            assert!(trace.evaluation_peak() < trace.training_peak());
            assert!(trace.evaluation_peak() > 4 * input.iter().product::<usize>() as u64);
        }
    }

    #[test]
    fn inputs_that_are_not_for_a_network_are_refused() {
        let mut params = ParamBuilder::without_values(&Backend::cpu());
        let net = build(&WRN, &[3, 9, 9], 4, false, 0.0, &mut FixedKernels::default(), &mut params).unwrap();
        for input in [vec![2, 4, 9, 9], vec![2, 3, 9], vec![]] {
            assert!(net.trace(&input).is_err(), "{input:?}");
        }
    }
}
