//! A forward and backward pass per algorithm, on layers of each kind.
//!
//! `cargo bench -p dash-conv`

use candle_core::{DType, Device, Tensor, Var};
use dash_conv::{Algorithm, ConvOptions, TapConv, TapSet};
use divan::Bencher;

fn main() {
    divan::main();
}

const ALGORITHMS: [Algorithm; 4] = Algorithm::ON_CPU;

/// Times a layer; `shape` is that of the input.
fn layer(bencher: Bencher, taps: TapSet, shape: &[usize], c_out: usize, groups: usize, algorithm: Algorithm) {
    let run = || -> Result<_, Box<dyn std::error::Error>> {
        let normal = |shape: &[usize]| Var::from_tensor(&Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?);
        let (x, w) = (normal(shape)?, normal(&[c_out, shape[1] / groups, taps.len()])?);
        let b = Var::zeros(c_out, DType::F32, &Device::Cpu)?;
        let options = ConvOptions { groups, ..ConvOptions::default() };
        Ok((TapConv::new(taps.clone(), options)?.with_algorithm(algorithm), x, w, b))
    };
    match run() {
        Ok((conv, x, w, b)) => bencher.bench_local(|| {
            conv.forward(&x, &w, Some(&b)).and_then(|y| y.sum_all()).and_then(|loss| loss.backward())
        }),
        Err(error) => bencher.bench_local(|| error.to_string()),
    }
}

/// The union of all kernels of the published search spaces.
fn mixture(dims: usize) -> TapSet {
    let sizes: &[usize] = if dims == 1 { &[3, 7, 11, 15, 19] } else { &[3, 5, 7, 9] };
    let sets = sizes.iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(dims, k, d)));
    let sets: Result<Vec<_>, _> = sets.collect();
    sets.and_then(|sets| TapSet::union(&sets)).map_or_else(|_| plain(dims, 1, 1), |union| union.0)
}

fn plain(dims: usize, kernel_size: usize, dilation: usize) -> TapSet {
    match TapSet::centred(dims, kernel_size, dilation) {
        Ok(taps) => taps,
        Err(error) => std::panic::panic_any(error.to_string()),
    }
}

#[divan::bench(args = ALGORITHMS)]
fn mixture_2d_depthwise(bencher: Bencher, algorithm: Algorithm) {
    layer(bencher, mixture(2), &[4, 16, 32, 32], 16, 16, algorithm);
}

#[divan::bench(args = ALGORITHMS)]
fn mixture_2d_dense(bencher: Bencher, algorithm: Algorithm) {
    layer(bencher, mixture(2), &[4, 16, 32, 32], 32, 1, algorithm);
}

#[divan::bench(args = ALGORITHMS)]
fn mixture_1d_depthwise(bencher: Bencher, algorithm: Algorithm) {
    layer(bencher, mixture(1), &[16, 8, 1000], 8, 8, algorithm);
}

#[divan::bench(args = ALGORITHMS)]
fn kernel_3_by_1_dense(bencher: Bencher, algorithm: Algorithm) {
    layer(bencher, plain(2, 3, 1), &[4, 64, 32, 32], 64, 1, algorithm);
}

#[divan::bench(args = ALGORITHMS)]
fn kernel_9_by_7_dense(bencher: Bencher, algorithm: Algorithm) {
    layer(bencher, plain(2, 9, 7), &[4, 64, 32, 32], 64, 1, algorithm);
}
