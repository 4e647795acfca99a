//! What the tests of several algorithms share.

use crate::{Problem, op::Kernel, oracle};
use pulp::Arch;

/// Compares what `build` makes with the oracle, forward and all gradients, on all instruction sets that
/// this machine has; `tolerance` is relative to the largest value.
pub(crate) fn against_oracle<K: Kernel>(
    problem: &Problem,
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
    #[allow(unused_mut)]
    let mut arches = vec![Arch::new()];
    #[cfg(target_arch = "x86_64")]
    arches.extend([Some(Arch::Scalar), pulp::x86::V3::try_new().map(Arch::V3)].into_iter().flatten());
    for arch in arches {
        let kernel = build(arch);
        let mut y = vec![f32::NAN; y_len];
        kernel.forward(&x, &w, &bias, &mut y);
        let (mut dx, mut dw) = (vec![f32::NAN; x_len], vec![0.0; w_len]);
        kernel.backward(&x, &w, &g, Some(&mut dx), &mut dw);
        let mut alone = vec![0.0; w_len];
        kernel.backward(&x, &w, &g, None, &mut alone);
        assert_eq!(alone, dw, "{problem}, {how}");
        for (what, got, expected) in
            [("y", y, &sums), ("dx", dx, &expected.input), ("dw", dw, &expected.weights)]
        {
            let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                let error = (f64::from(*got) - expected).abs() / scale;
                assert!(error < tolerance, "{what}[{i}] is {got} instead of {expected}: {problem}, {how}");
            }
        }
    }
}
