//! DASH's mixture of kernels as one convolution, its gradients, and its plan.
//!
//! `cargo run --release -p dash-conv --example mixture`

#![allow(clippy::print_stdout, reason = "the example prints its results")]

use candle_core::{D, DType, Device, Tensor, Var};
use dash_conv::{Algorithm, ConvOptions, Mixture, TapConv, TapSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::Cpu;
    // All kernels of 3, 5, 7 or 9 taps per axis with dilation 1, 3, 7 or 15.
    let mut candidates = Vec::new();
    for dilation in [1, 3, 7, 15] {
        for kernel_size in [3, 5, 7, 9] {
            candidates.push(TapSet::centred(2, kernel_size, dilation)?);
        }
    }
    let mixture = Mixture::new(&candidates)?;
    println!("{} candidates, {} distinct taps", mixture.candidates(), mixture.taps().len());

    // 16 input and 32 output channels; the weights of all candidates are one flat tensor.
    let (c_in, c_out) = (16, 32);
    let len = mixture.weights_len(c_in * c_out);
    let weights = Var::from_tensor(&Tensor::randn(0f32, 0.01, len, &device)?)?;
    let alpha = Var::zeros(mixture.candidates(), DType::F32, &device)?;
    let bias = Var::zeros(c_out, DType::F32, &device)?;
    let x = Tensor::randn(0f32, 1.0, (8, c_in, 32, 32), &device)?;

    // softmax(alpha), then one kernel over the union of all taps.
    let exp = alpha.exp()?;
    let coefficients = exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)?;
    let kernel = mixture.mix(&weights, &coefficients, c_out, c_in)?;
    let conv = TapConv::new(mixture.taps().clone(), ConvOptions::default())?;
    println!("plan: {}", conv.plan(x.dims(), kernel.dims())?);
    let y = conv.forward(&x, &kernel, Some(&bias))?;

    let gradients = y.sqr()?.mean_all()?.backward()?;
    if let Some(gradient) = gradients.get(&alpha) {
        println!("gradient of alpha: {:.5?}", gradient.to_vec1::<f32>()?);
    }

    // Another algorithm, the same numbers.
    let taps = TapConv::new(mixture.taps().clone(), ConvOptions::default())?.with_algorithm(Algorithm::Gemm);
    let difference = (taps.forward(&x, &kernel, Some(&bias))? - &y)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("fft and gemm differ by at most {difference:e}");
    Ok(())
}
