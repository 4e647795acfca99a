//! A dilated convolution on candle tensors: forward, gradients by autograd and without it, and the plan behind them.
//!
//! `cargo run --release -p dash-conv --example convolve`
#![allow(clippy::print_stdout, reason = "the example prints its results")]

use candle_core::{Device, Tensor, Var};
use dash_conv::{Algorithm, ConvOptions, GradientsOf, Planner, Policy, TapConv, TapSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::Cpu;

    // PyTorch's Conv2d(16, 32, kernel_size=5, dilation=3, stride=2, padding="same"-like, bias=True).
    let taps = TapSet::centred(2, 5, 3)?;
    let options = ConvOptions { stride: [2, 2], ..ConvOptions::default() };
    let conv = TapConv::new(taps, options)?;

    // Weights have one axis for all taps: [c_out, c_in / groups, 25] instead of [c_out, c_in / groups, 5, 5].
    let x = Tensor::randn(0f32, 1.0, (8, 16, 64, 64), &device)?;
    let weights = Var::from_tensor(&Tensor::randn(0f32, 0.05, (32, 16, 25), &device)?)?;
    let bias = Var::zeros(32, candle_core::DType::F32, &device)?;

    // Forward: the output is part of candle's autograd graph.
    let y = conv.forward(&x, &weights, Some(&bias))?;
    println!("{:?} -> {:?}", x.dims(), y.dims());
    println!("plan: {}", conv.plan(x.dims(), weights.dims())?);
    let gradients = y.sqr()?.mean_all()?.backward()?;
    if let Some(gradient) = gradients.get(&weights) {
        println!("norm of the gradient of the weights: {:.5}", norm(gradient)?);
    }

    // The same without a graph, for frameworks that keep their own.
    let y = conv.forward_detached(&x, &weights, Some(&bias))?;
    let grad = (&y * (2.0 / y.elem_count() as f64))?;
    let gradients = conv.backward(&x, &weights, &grad, GradientsOf::Parameters)?;
    println!("the same without autograd:           {:.5}", norm(&gradients.weights)?);

    // An algorithm may be fixed, or plans measured instead of estimated. Every algorithm computes the same function.
    let direct = TapConv::new(conv.taps().clone(), options)?.with_algorithm(Algorithm::Direct);
    let difference = (direct.forward(&x, &weights, Some(&bias))? - &y)?.abs()?.max_all()?;
    println!("direct differs by at most {:e}", difference.to_scalar::<f32>()?);
    let measuring = Planner::new(Policy::Measure);
    let measured = TapConv::new(conv.taps().clone(), options)?.with_planner(&measuring);
    measured.forward(&x, &weights, Some(&bias))?;
    for choice in measuring.choices() {
        println!("{choice}");
    }
    Ok(())
}

fn norm(tensor: &Tensor) -> candle_core::Result<f32> {
    tensor.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()
}
