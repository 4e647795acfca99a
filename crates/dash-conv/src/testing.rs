//! Provides helpers for the tests of several algorithms.

use crate::{ConvOptions, ConvProblem, InstructionSet, TapSet, algorithm::CpuConvolution, oracle};
use pulp::Arch;

/// A problem with the given batch, input channels, output channels and groups.
pub(crate) fn problem(
    taps: &TapSet,
    [batch, c_in, c_out, groups]: [usize; 4],
    [height, width]: [usize; 2],
    stride: [usize; 2],
) -> ConvProblem {
    ConvProblem::new(taps, [batch, c_in, height, width], c_out, ConvOptions { groups, stride }).unwrap()
}

/// Compares the convolution that `build` returns with the oracle, forward and all gradients, on all instruction sets of this
/// machine; `tolerance` is relative to the largest value. Instruction sets must agree to the bit.
pub(crate) fn against_oracle<K: CpuConvolution>(
    problem: &ConvProblem,
    how: &str,
    tolerance: f64,
    build: impl Fn(Arch) -> K,
) {
    let values = |len: usize, seed: u64| -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    };
    let wide = |v: &[f32]| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
    let [x_len, w_len, y_len] = problem.lens();
    let (x, w, g) = (values(x_len, 1), values(w_len, 2), values(y_len, 3));
    let bias = values(problem.c_out, 4);
    let expected = oracle::backward(problem, &wide(&x), &wide(&w), &wide(&g));
    let sums = oracle::forward(problem, &wide(&x), &wide(&w), &wide(&bias));
    let mut first: Option<(InstructionSet, [Vec<f32>; 3])> = None;
    for set in InstructionSet::available() {
        let Some(arch) = set.arch() else { continue };
        let convolution = build(arch);
        let mut y = vec![f32::NAN; y_len];
        convolution.forward(&x, &w, &bias, &mut y);
        let (mut dx, mut dw) = (vec![f32::NAN; x_len], vec![0.0; w_len]);
        convolution.backward(&x, &w, &g, Some(&mut dx), &mut dw);
        let mut alone = vec![0.0; w_len];
        convolution.backward(&x, &w, &g, None, &mut alone);
        assert_eq!(alone, dw, "{problem}, {how}");
        let results = [y, dx, dw];
        let expected = [("y", &sums), ("dx", &expected.input), ("dw", &expected.weights)];
        for (got, (what, expected)) in results.iter().zip(expected) {
            let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                let error = (f64::from(*got) - expected).abs() / scale;
                assert!(error < tolerance, "{what}[{i}] is {got} instead of {expected}: {problem}, {how}");
            }
        }
        let (of, first) = first.get_or_insert_with(|| (set, results.clone()));
        for ((what, first), got) in ["y", "dx", "dw"].into_iter().zip(first).zip(&results) {
            let differ = first.iter().zip(got).position(|(a, b)| a.to_bits() != b.to_bits());
            assert!(differ.is_none(), "{what}{differ:?} differs between {of} and {set}: {problem}, {how}");
        }
    }
}
