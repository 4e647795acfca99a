//! What a network computes and keeps, found by walking through it with shapes instead of values.

use crate::Error;
use dash_conv::{ConvProblem, Machine, Plan, TapConv};

/// Bytes of a number.
const NUMBER: u64 = 4;

/// The convolutions of one pass through a network, and what they and the other operations need in memory.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The convolutions in forward order.
    pub convolutions: Vec<ConvProblem>,
    /// Bytes of the activations that stay until the backward pass.
    kept: u64,
    /// The most bytes that a single operation needs besides: results or gradients, and work space.
    passing: u64,
    /// The same of operations that are no convolutions, and of each convolution without its work space.
    others: u64,
    around: Vec<u64>,
}

impl Survey {
    /// Bytes of the activations that wait for the backward pass.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The same network on a GPU whose blocks may have `shared` bytes of shared memory: the work space of
    /// convolutions is another.
    pub fn on_gpu(mut self, shared: usize) -> Survey {
        let needs = self.convolutions.iter().zip(&self.around).map(|(problem, around)| {
            around.saturating_add(Plan::choose(problem, &Machine::gpu(shared)).cost().bytes as u64)
        });
        self.passing = needs.fold(self.others, u64::max);
        self
    }

    /// Bytes of activations and work space at the height of a training step.
    pub fn training(&self) -> u64 {
        self.kept + self.passing
    }

    /// Bytes of activations and work space at the height of an evaluation.
    pub fn evaluation(&self) -> u64 {
        self.passing
    }

    /// An activation that an operation keeps for its gradient.
    pub(crate) fn keep(&mut self, shape: &[usize]) {
        self.kept += bytes(shape);
    }

    /// An operation on activations of these shapes, its results included, that needs `work` bytes besides.
    /// A residual connection around it may hold on to one more of the largest.
    pub(crate) fn pass(&mut self, shapes: &[&[usize]], work: u64) {
        self.others = self.others.max(passing(shapes) + work);
        self.passing = self.passing.max(self.others);
    }

    /// A convolution, with weights of shape `weights`, of an input of shape `x` that is kept for the gradient;
    /// the shape of the result.
    ///
    /// # Errors
    /// If the shapes do not fit the convolution.
    pub fn convolution(
        &mut self,
        conv: &TapConv,
        x: &[usize],
        weights: &[usize],
    ) -> Result<Vec<usize>, Error> {
        self.keep(x);
        self.convolution_of_kept(conv, x, weights)
    }

    /// The same where another operation keeps the input as well.
    pub(crate) fn convolution_of_kept(
        &mut self,
        conv: &TapConv,
        x: &[usize],
        weights: &[usize],
    ) -> Result<Vec<usize>, Error> {
        let problem = conv.problem(x, weights)?;
        let y = conv.out_shape(&problem).into_dims();
        // By the cost model: nothing is timed for an estimate.
        let plan = Plan::choose(&problem, &Machine::CPU);
        let around = passing(&[x, &y]) + 2 * bytes(weights);
        self.passing = self.passing.max(around + plan.cost().bytes as u64);
        self.around.push(around);
        self.convolutions.push(problem);
        Ok(y)
    }
}

/// Bytes of activations of these shapes, the largest twice.
fn passing(shapes: &[&[usize]]) -> u64 {
    let sizes = || shapes.iter().map(|shape| bytes(shape));
    sizes().sum::<u64>() + sizes().max().unwrap_or(0)
}

/// Bytes of an activation of this shape.
fn bytes(shape: &[usize]) -> u64 {
    shape.iter().fold(NUMBER, |bytes, &n| bytes.saturating_mul(n as u64))
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

    fn survey(backbone: &Backbone, input: &[usize], dense: bool) -> Survey {
        let mut params = ParamBuilder::blank();
        let net =
            build(backbone, &input[1..], 4, dense, 0.1, &mut FixedKernels::default(), &mut params).unwrap();
        net.survey(input).unwrap()
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
            let mut params = ParamBuilder::new(0, 0, &Device::Cpu).with_planner(&planner);
            let mut convs = FixedKernels::default();
            let net = build(&backbone, &input[1..], 4, dense, 0.1, &mut convs, &mut params).unwrap();
            let x = Tensor::ones(input.as_slice(), DType::F32, &Device::Cpu).unwrap();
            net.forward(&x, &ForwardContext { training: true, ..ForwardContext::evaluation() }).unwrap();
            let met: Vec<ConvProblem> = planner.choices().into_iter().map(|choice| choice.problem).collect();
            let mut found: Vec<ConvProblem> = Vec::new();
            for problem in survey(&backbone, &input, dense).convolutions {
                if !found.contains(&problem) {
                    found.push(problem);
                }
            }
            assert_eq!(found, met);
        }
    }

    /// By hand: a dense WRN-10-1 on maps of n numbers keeps the input of its stem; the inputs of both
    /// normalisations and both convolutions of its blocks of 16, 32 and 64 channels; those of its last
    /// normalisation and its head; and twice its outputs.
    #[test]
    fn what_is_kept_is_the_inputs_of_all_operations_once() {
        let n = 8 * 8_u64;
        let block = |c_in: u64, c_out: u64| 2 * c_in + 2 * c_out;
        let channels = 3 + block(16, 16) + block(16, 32) + block(32, 64) + 64 + 64 + 2 * 4;
        assert_eq!(survey(&WRN, &[2, 3, 8, 8], true).kept, 4_u64 * 2 * n * channels);
    }

    #[test]
    fn a_gpu_needs_other_work_space_beside_the_same_activations() {
        for (backbone, input) in [(WRN, vec![64, 3, 32, 32]), (RESNET, vec![64, 2, 400])] {
            let (here, there) = (survey(&backbone, &input, false), survey(&backbone, &input, false));
            let there = there.on_gpu(227 << 10);
            assert_eq!(there.kept(), here.kept());
            let work = there.convolutions.iter();
            let work = work.map(|p| Plan::choose(p, &Machine::gpu(227 << 10)).cost().bytes);
            let most = work.fold(0.0, f64::max) as u64;
            assert!(
                there.evaluation() > most && there.evaluation() <= most.max(here.evaluation()) + here.kept()
            );
            assert_ne!(there.evaluation(), here.evaluation());
        }
    }

    #[test]
    fn evaluation_needs_a_part_of_what_training_needs() {
        for (backbone, input) in [(WRN, vec![8, 3, 32, 32]), (RESNET, vec![8, 2, 400])] {
            let survey = survey(&backbone, &input, false);
            assert!(survey.evaluation() < survey.training());
            assert!(survey.evaluation() > 4 * input.iter().product::<usize>() as u64);
        }
    }

    #[test]
    fn inputs_that_are_not_for_a_network_are_refused() {
        let mut params = ParamBuilder::blank();
        let net = build(&WRN, &[3, 9, 9], 4, false, 0.0, &mut FixedKernels::default(), &mut params).unwrap();
        for input in [vec![2, 4, 9, 9], vec![2, 3, 9], vec![]] {
            assert!(net.survey(&input).is_err(), "{input:?}");
        }
    }
}
