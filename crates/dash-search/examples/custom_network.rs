//! Searches the kernels of a custom network: two convolutions, a mean over positions and a linear layer, which tell
//! waves of two periods apart.
//!
//!     cargo run --release -p dash-search --example custom_network
#![allow(clippy::print_stdout, reason = "a program for people")]

use candle_core::{Device, Tensor};
use dash_core::pipeline::{Candidate, Loss, Metric, Search};
use dash_nn::{
    Activation, Backend, ConvBuilder, ConvInit, ConvSpec, Convolve, ForwardContext, Gradients, Init,
    LearningRates, Objective, Optimizer, Param, ParamBuilder, Sgd, Targets,
};
use dash_search::{ArchGradientRule, Gumbel, MixtureBuilder, extract};

/// The network: `convs` are mixed operations during the search.
struct CustomNetwork {
    convs: Vec<Box<dyn Convolve>>,
    head: Param,
}

impl CustomNetwork {
    /// [batch, 1, length] -> [batch, 2].
    fn forward(&self, x: &Tensor, pass: &ForwardContext) -> candle_core::Result<Tensor> {
        let mut x = x.clone();
        for conv in &self.convs {
            x = conv.forward(&Activation::from_tensor(&Backend::cpu(), &x)?, pass)?.into_tensor()?.relu()?;
        }
        x.mean(2)?.matmul(&self.head.tensor(pass))
    }
}

/// 16 waves of 64 positions, of period 6 (class 0) and 16 (class 1), with other phases in each step.
fn batch(step: u64) -> candle_core::Result<(Tensor, Targets)> {
    let classes: Vec<i64> = (0..16).map(|sample| sample % 2).collect();
    let wave = |(sample, &class): (usize, &i64)| {
        let (period, phase) = (if class == 0 { 6.0 } else { 16.0 }, (7 * sample + 3 * step as usize) as f32);
        (0..64).map(move |i| (std::f32::consts::TAU * (i as f32 + phase) / period).sin())
    };
    let values: Vec<f32> = classes.iter().enumerate().flat_map(wave).collect();
    Ok((Tensor::from_vec(values, (16, 1, 64), &Device::Cpu)?, Targets::Class(classes)))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The search space, and a mixed operation over it for each convolution.
    let space = Search { kernel_sizes: vec![3, 5, 7], dilations: vec![1, 3], ..Search::default() };
    let mut mixtures = MixtureBuilder::new(&space, Gumbel);
    let mut params = ParamBuilder::new(0, 0, &Backend::cpu());
    let conv = |(index, (c_in, c_out)): (usize, (usize, usize))| ConvSpec {
        name: format!("conv{}", index + 1),
        index,
        dims: 1,
        c_in,
        c_out,
        stride: 1,
        default: Candidate { kernel_size: 3, dilation: 1 },
        init: ConvInit::FanIn,
        causal: false,
    };
    let specs = [(1, 8), (8, 8)].into_iter().enumerate().map(conv);
    let convs = specs.map(|spec| mixtures.build(&spec, &mut params)).collect::<Result<_, _>>()?;
    let head = params.weight("head", (8, 2), Init::Normal { std: 0.3 })?;
    let (network, params) = (CustomNetwork { convs, head }, params.finish());

    // Weights and architecture parameters take every step together.
    let objective = Objective { loss: Loss::CrossEntropy, metric: Metric::ZeroOneError, scaling: None };
    let candidates = Candidate::enumerate(&space.kernel_sizes, &space.dilations);
    let rule = ArchGradientRule::new(space.grad_scale, space.receptive_field_penalty, &candidates);
    let mut optimizer = Sgd::new(&params, space.momentum, space.weight_decay)?;
    for step in 0..200 {
        let (x, targets) = batch(step)?;
        let pass = ForwardContext { training: true, seed: 0, epoch: 0, step };
        let loss = objective.loss(params.backend(), &network.forward(&x, &pass)?, targets)?;
        let mut gradients = Gradients::of(&loss, &params)?;
        rule.apply(&params, &mut gradients)?;
        gradients.clip(space.clip_norm)?;
        optimizer.step(&params, &gradients, LearningRates { weights: 0.1, architecture: 0.05 })?;
        if step % 50 == 49 {
            println!("step {:3}  loss {:.4}", step + 1, loss.to_scalar::<f32>()?);
        }
    }
    for layer in extract(&space, mixtures.layers())?.layers {
        let Candidate { kernel_size, dilation } = layer.candidate;
        println!("{}: kernel size {kernel_size}, dilation {dilation}", layer.name);
    }
    Ok(())
}
