//! Computes convolutions on NVIDIA GPUs: their recipes, costs and kernels.

pub(crate) mod cost;
mod dense;
mod depthwise;
mod fft;
#[cfg(test)]
mod kernel_tests;
mod kernels;
mod mixture;
pub(crate) mod op;
mod segments;
mod tiling;
mod transform;

use crate::{Algorithm, ConvProblem};
use candle_core::Result;
use dash_cuda::Gpu;
use dense::{Dense, DenseMethod, DenseSizes};
use depthwise::{Depthwise, TapMethod};
use std::sync::Arc;

pub(crate) use depthwise::Convolution;
pub(crate) use mixture::MixtureTable;
pub(crate) use tiling::GpuTiling;

/// How a GPU computes a convolution.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GpuRecipe {
    /// A depthwise layer, tap by tap.
    Taps,
    /// Transforms in shared memory.
    Fft(GpuTiling),
    /// Matrix products of the weights and the inputs under all taps.
    Columns,
}

impl GpuRecipe {
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            GpuRecipe::Taps => Algorithm::Direct,
            GpuRecipe::Fft(_) => Algorithm::Fft,
            GpuRecipe::Columns => Algorithm::Gemm,
        }
    }
}

/// Builds what `recipe` says.
pub(crate) fn build(gpu: &Gpu, recipe: &GpuRecipe, problem: &ConvProblem) -> Result<Arc<dyn Convolution>> {
    let transforms = |tiling: &GpuTiling| Box::new(tiling.segments());
    if problem.is_depthwise() {
        let method = match recipe {
            GpuRecipe::Fft(tiling) => TapMethod::Transforms(transforms(tiling)),
            GpuRecipe::Taps | GpuRecipe::Columns => TapMethod::Taps,
        };
        let ConvProblem { batch, c_in, size, stride, .. } = *problem;
        return Ok(Arc::new(Depthwise::new(gpu, [batch, c_in], size, stride, table(problem), method)?));
    }
    let method = match recipe {
        GpuRecipe::Fft(tiling) => DenseMethod::Transforms(transforms(tiling)),
        GpuRecipe::Taps | GpuRecipe::Columns => DenseMethod::Columns,
    };
    let (per_in, per_out) = (problem.group_in(), problem.group_out());
    let ConvProblem { batch, groups, size, stride, .. } = *problem;
    let sizes = DenseSizes { batch, groups, per_in, per_out, size, stride };
    Ok(Arc::new(Dense::new(gpu, sizes, table(problem), method)?))
}

/// The taps that meet data, as kernels take them.
fn table(problem: &ConvProblem) -> (&[[i32; 2]], &[usize], usize) {
    (&problem.offsets, &problem.tap_indices, problem.taps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, machine::GpuModel, oracle, testing::problem};
    use candle_core::{Device, Tensor};

    /// Every tiling gives what the definition says, on the emulator.
    #[test]
    fn every_tiling_equals_the_oracle() {
        let device = Device::Cpu;
        let gpu = Gpu::emulated();
        for (groups, channels, size, stride, kernel, dilation) in [
            (3, [3, 3], [1, 40], [1, 1], 3, 4),
            (2, [2, 2], [13, 16], [2, 1], 3, 1),
            (3, [3, 3], [9, 12], [2, 3], 3, 2),
            (1, [3, 2], [12, 15], [1, 1], 5, 1),
            (2, [4, 6], [10, 14], [2, 2], 3, 3),
            (1, [1, 5], [1, 50], [1, 2], 7, 2),
        ] {
            let taps = TapSet::centred(if size[0] > 1 { 2 } else { 1 }, kernel, dilation).unwrap();
            let p = problem(&taps, [3, channels[0], channels[1], groups], size, stride);
            let [x_len, w_len, y_len] = p.lens();
            let [x, w, b, g] = [x_len, w_len, p.c_out, y_len].map(|len| {
                let value = |i: usize| ((i * i + 7 * len + 3 * i) % 23) as f32 / 11.5 - 1.0;
                (0..len).map(value).collect::<Vec<f32>>()
            });
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let y = oracle::forward(&p, &wide(&x), &wide(&w), &wide(&b));
            let expected = oracle::backward(&p, &wide(&x), &wide(&w), &wide(&g));
            let [x, w, b, g] = [x, w, b, g].map(|v| Tensor::from_slice(&v, v.len(), &device).unwrap());
            let recipes = cost::candidates(Algorithm::Fft, &p, &GpuModel::H100);
            for (recipe, _) in &recipes {
                let conv = build(&gpu, recipe, &p).unwrap();
                let (dx, dw) = conv.gradients(&gpu, &x, &w, &g, true).unwrap();
                let got = [conv.forward(&gpu, &x, &w, &b).unwrap(), dx.unwrap(), dw];
                for (got, expected) in got.iter().zip([&y, &expected.input, &expected.weights]) {
                    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    let size = expected.iter().fold(1f64, |m, v| m.max(v.abs()));
                    let far =
                        |(got, expected): (&f32, &f64)| (f64::from(*got) - expected).abs() > 2e-6 * size;
                    assert_eq!(got.len(), expected.len());
                    assert!(!got.iter().zip(expected).any(far), "{p}: {recipe:?}");
                }
            }
            let tiles = |recipe: &GpuRecipe| if let GpuRecipe::Fft(t) = recipe { t.count() } else { 0 };
            let most = recipes.iter().map(|(recipe, _)| tiles(recipe)).max().unwrap();
            assert!(recipes.len() > 3 && most > 3, "{} tilings, {most} tiles", recipes.len());
        }
    }
}
