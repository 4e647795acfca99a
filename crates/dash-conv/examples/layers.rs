//! Measures every algorithm on layers of the networks and prints what the cost model chose.
//!
//! `cargo run --release -p dash-conv --example layers`

#![allow(clippy::print_stdout, reason = "a program for people")]

use candle_core::{DType, Device, Tensor, Var};
use dash_conv::{Algorithm, Plan, TapConv, TapSet};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Name, taps, [batch, c_in, c_out, groups], stride, size of the map.
type Layer = (&'static str, TapSet, [usize; 4], usize, Vec<usize>);

/// Milliseconds of a forward and backward pass: the least of a few.
fn measure(conv: &TapConv, x: &Var, w: &Var, b: &Var) -> Result<f64> {
    let mut best = f64::MAX;
    let mut total = 0.0;
    while total < 400.0 {
        let start = Instant::now();
        let y = conv.forward(x, w, b)?;
        y.sum_all()?.backward()?;
        let ms = 1e3 * start.elapsed().as_secs_f64();
        best = best.min(ms);
        total += ms;
    }
    Ok(best)
}

fn main() -> Result<()> {
    println!(
        "layer, ms                                   fft       gemm     direct        dft   chosen   (model: fft, gemm, direct)"
    );
    let union = |dims: usize, k: &[usize]| -> Result<TapSet> {
        let sets = k.iter().flat_map(|&k| [1, 3, 7, 15].map(|d| TapSet::centred(dims, k, d)));
        Ok(TapSet::union(&sets.collect::<std::result::Result<Vec<_>, _>>()?)?.0)
    };
    let (two, one) = (union(2, &[3, 5, 7, 9])?, union(1, &[3, 7, 11, 15, 19])?);
    let plain = |k, d| TapSet::centred(2, k, d);
    let layers: Vec<Layer> = vec![
        ("mixture, depthwise 16, 29x29, batch 10", two.clone(), [10, 16, 16, 16], 1, vec![29, 29]),
        ("mixture, 16 to 32, 29x29, batch 10", two.clone(), [10, 16, 32, 1], 1, vec![29, 29]),
        ("mixture, 32 to 64, 29x29, batch 10", two.clone(), [10, 32, 64, 1], 1, vec![29, 29]),
        ("mixture, depthwise 16, 32x32, batch 16", two.clone(), [16, 16, 16, 16], 1, vec![32, 32]),
        ("mixture, depthwise 64, 8x8, batch 16", two.clone(), [16, 64, 64, 64], 1, vec![8, 8]),
        ("mixture, 32 to 64, 16x16, batch 16", two.clone(), [16, 32, 64, 1], 1, vec![16, 16]),
        ("mixture, depthwise 8, 1000, batch 128", one.clone(), [128, 8, 8, 8], 1, vec![1000]),
        ("mixture, 4 to 8, 1000, batch 128", one.clone(), [128, 4, 8, 1], 1, vec![1000]),
        ("3 by 1, 16 to 16, 29x29, batch 10", plain(3, 1)?, [10, 16, 16, 1], 1, vec![29, 29]),
        ("3 by 15, 16 to 16, 29x29, batch 10", plain(3, 15)?, [10, 16, 16, 1], 1, vec![29, 29]),
        ("5 by 3, 32 to 32, 29x29, batch 10", plain(5, 3)?, [10, 32, 32, 1], 1, vec![29, 29]),
        ("7 by 1, 32 to 32, 29x29, batch 10", plain(7, 1)?, [10, 32, 32, 1], 1, vec![29, 29]),
        ("9 by 3, 64 to 64, 29x29, batch 10", plain(9, 3)?, [10, 64, 64, 1], 1, vec![29, 29]),
        ("9 by 7, 64 to 64, 29x29, batch 10", plain(9, 7)?, [10, 64, 64, 1], 1, vec![29, 29]),
        ("9 by 1, 64 to 64, 29x29, batch 10", plain(9, 1)?, [10, 64, 64, 1], 1, vec![29, 29]),
        ("7 by 3, 256 to 256, 8x8, batch 16", plain(7, 3)?, [16, 256, 256, 1], 1, vec![8, 8]),
        ("15 by 3, 8 to 8, 1000, batch 256", TapSet::causal(15, 3)?, [256, 8, 8, 1], 1, vec![1000]),
        ("5 by 1, 4 to 4, 1000, batch 256", TapSet::causal(5, 1)?, [256, 4, 4, 1], 1, vec![1000]),
    ];
    for (name, taps, [batch, c_in, c_out, groups], stride, size) in layers {
        let shape = [&[batch, c_in], size.as_slice()].concat();
        let random = |shape: &[usize]| Var::from_tensor(&Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?);
        let (x, w) = (random(&shape)?, random(&[c_out, c_in / groups, taps.len()])?);
        let b = Var::zeros(c_out, DType::F32, &Device::Cpu)?;
        let times = Algorithm::ALL.map(|algorithm| {
            measure(&TapConv::new(taps.clone(), groups, stride)?.with_algorithm(algorithm), &x, &w, &b)
        });
        let problem = TapConv::new(taps.clone(), groups, stride)?.problem(&shape, w.dims())?;
        let [fft, gemm, direct, dft] = times;
        let model = |algorithm| 1e3 * Plan::with(algorithm, &problem).seconds / 2.0;
        println!(
            "{name:38} {:10.2} {:10.2} {:10.2} {:10.2}   {:6}   ({:.2}, {:.2}, {:.2})",
            fft?,
            gemm?,
            direct?,
            dft?,
            Plan::choose(&problem).algorithm.to_string(),
            model(Algorithm::Fft),
            model(Algorithm::Gemm),
            model(Algorithm::Direct),
        );
    }
    Ok(())
}
