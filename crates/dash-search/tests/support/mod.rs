//! Trainings of small networks, for comparisons of what computes them.
#![allow(unreachable_pub, missing_docs, reason = "shared by tests of which each uses a part")]

use candle_core::{Device, Tensor};
use dash_core::pipeline::{Backbone, Candidate, Loss, Metric, Search};
use dash_nn::{
    Backend, ConvBuilder, FixedKernels, ForwardContext, Gradients, LearningRates, Objective, Optimizer,
    ParamBuilder, Sgd, Targets, build,
};
use dash_search::{ArchGradientRule, Gumbel, MixtureBuilder};

/// A training to compare.
pub struct Case {
    pub name: &'static str,
    backbone: Backbone,
    input: Vec<usize>,
    searched: bool,
    dropout: f64,
}

const BATCH: usize = 6;
const CLASSES: usize = 5;
const STEPS: u64 = 20;

/// What a training ends with: the loss of each step, and of the evaluation after it, and all values.
pub fn train(case: &Case, backend: &Backend) -> (Vec<f64>, Vec<f32>) {
    let space = Search { kernel_sizes: vec![3, 5, 9], dilations: vec![1, 3], ..Search::default() };
    let mut convs: Box<dyn ConvBuilder> = match case.searched {
        true => Box::new(MixtureBuilder::new(&space, Gumbel)),
        false => Box::new(FixedKernels::default()),
    };
    let mut params = ParamBuilder::new(3, 0, backend);
    let net = build(&case.backbone, &case.input, CLASSES, false, case.dropout, convs.as_mut(), &mut params);
    let (net, params) = (net.unwrap(), params.finish());
    let objective = Objective { loss: Loss::CrossEntropy, metric: Metric::ZeroOneError, scaling: None };
    let candidates = Candidate::enumerate(&space.kernel_sizes, &space.dilations);
    let rule = ArchGradientRule::new(space.grad_scale, space.receptive_field_penalty, &candidates);
    let mut sgd = Sgd::new(&params, 0.9, 5e-4).unwrap();
    let batch = |step: u64| {
        let shape = [&[BATCH], case.input.as_slice()].concat();
        let count = shape.iter().product::<usize>();
        let value = |i: usize| ((i * i + 31 * i + 977 * step as usize) % 61) as f32 / 30.0 - 1.0;
        let x = Tensor::from_vec((0..count).map(value).collect::<Vec<_>>(), shape, backend.device()).unwrap();
        (x, Targets::Class((0..BATCH).map(|i| ((i as u64 + step) % CLASSES as u64) as i64).collect()))
    };
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let (x, targets) = batch(step);
        let pass = ForwardContext { training: true, seed: 4, epoch: 0, step };
        let loss = objective.loss(backend, &net.forward(&x, &pass).unwrap(), targets).unwrap();
        losses.push(f64::from(loss.to_scalar::<f32>().unwrap()));
        let mut gradients = Gradients::of(&loss, &params).unwrap();
        if case.searched {
            rule.apply(&params, &mut gradients).unwrap();
            gradients.clip(1.0).unwrap();
        }
        sgd.step(&params, &gradients, LearningRates { weights: 0.02, architecture: 0.01 }).unwrap();
    }
    let (x, targets) = batch(STEPS);
    let loss =
        objective.loss(backend, &net.forward(&x, &ForwardContext::evaluation()).unwrap(), targets).unwrap();
    losses.push(f64::from(loss.to_scalar::<f32>().unwrap()));
    let values = params.state().unwrap().into_iter().flat_map(|(_, t)| {
        t.to_device(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    });
    (losses, values.collect())
}

pub fn cases() -> Vec<Case> {
    let case = |name, backbone, input: &[usize], searched, dropout| Case {
        name,
        backbone,
        input: input.to_vec(),
        searched,
        dropout,
    };
    let wrn = Backbone::Wrn { depth: 10, width: 1 };
    let resnet = |causal| Backbone::Resnet1d { channels: Some(4), causal };
    vec![
        case("search, 2-D", wrn, &[3, 9, 10], true, 0.0),
        case("search, 1-D", resnet(false), &[2, 40], true, 0.0),
        case("retraining, 2-D", wrn, &[3, 9, 10], false, 0.1),
        case("retraining, 1-D", resnet(true), &[2, 40], false, 0.2),
    ]
}
