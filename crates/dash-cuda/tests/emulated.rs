//! Every kernel, by the emulator, against definitions in f64; with the threads of a block in both orders, which must not
//! change a bit.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use dash_cuda::{Gpu, Norm, SgdStep, add, clip_scale, dropout, mean_backward, mean_forward, run_on_gpus};
use proptest::prelude::*;

type DeviceBuffer = dash_cuda::DeviceBuffer<f32>;

/// Values in [-1, 1) from a small generator.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// `terms` is how many products of numbers in [-1, 1) a value is the sum of, at most.
fn check(what: &str, got: &[f32], expected: &[f64], terms: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len(), "{}", what);
    let usual = ((terms as f64).sqrt() / 3.0).max(1.0);
    let size = expected.iter().fold(usual, |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        prop_assert!((f64::from(*g) - e).abs() < 2e-6 * size, "{} [{}]: {} against {}", what, i, g, e);
    }
    Ok(())
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn up(emulator: &Gpu, values: &[f32]) -> DeviceBuffer {
    emulator.upload(values).unwrap()
}

/// y, dx, weight and bias gradients, running mean and running variance of a normalisation, by the definition.
fn norm_oracle(n: &Norm, [x, w, b, g]: [&[f64]; 4], given: Option<[&[f64]; 2]>) -> [Vec<f64>; 6] {
    let Norm { batch, channels, positions, epsilon, relu } = *n;
    let mut out = [vec![0.0; x.len()], vec![0.0; x.len()], vec![], vec![], vec![], vec![]];
    for c in 0..channels {
        let all: Vec<usize> = (0..batch)
            .flat_map(|s| (0..positions).map(move |i| (s * channels + c) * positions + i))
            .collect();
        let count = all.len() as f64;
        let mean = all.iter().map(|&i| x[i]).sum::<f64>() / count;
        let variance = all.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / count;
        out[4].push(mean);
        out[5].push(variance * count / (count.max(2.0) - 1.0));
        let (mean, variance) = given.map_or((mean, variance), |[m, v]| (m[c], v[c]));
        let inverse = 1.0 / (variance + epsilon).sqrt();
        let hat = |i: usize| (x[i] - mean) * inverse;
        let behind = |i: usize| if relu && hat(i) * w[c] + b[c] <= 0.0 { 0.0 } else { g[i] };
        let sum = all.iter().map(|&i| behind(i)).sum::<f64>();
        let product = all.iter().map(|&i| behind(i) * hat(i)).sum::<f64>();
        for &i in &all {
            let y = hat(i) * w[c] + b[c];
            out[0][i] = if relu { y.max(0.0) } else { y };
            out[1][i] = w[c] * inverse * (behind(i) - sum / count - hat(i) * product / count);
        }
        out[2].push(product);
        out[3].push(sum);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sums_are_sums(len in 1usize..2000, seed: u64) {
        let (a, b) = (values(len, seed), values(len, seed ^ 1));
        let got = run_on_gpus(|t| vec![add(t, t.read(&up(t, &a)), t.read(&up(t, &b))).unwrap()]);
        let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        prop_assert_eq!(&got[0], &expected);
    }

    #[test]
    fn means_are_means(planes in 1usize..40, n in 1usize..900, seed: u64) {
        let (x, g) = (values(planes * n, seed), values(planes, seed ^ 1));
        let got = run_on_gpus(|t| vec![
            mean_forward(t, t.read(&up(t, &x)), n).unwrap(),
            mean_backward(t, t.read(&up(t, &g)), n).unwrap(),
        ]);
        let means: Vec<f64> = wide(&x).chunks(n).map(|p| p.iter().sum::<f64>() / n as f64).collect();
        check("mean", &got[0], &means, 1)?;
        let dx: Vec<f64> = (0..planes * n).map(|i| f64::from(g[i / n]) / n as f64).collect();
        check("dx", &got[1], &dx, 1)?;
    }

    #[test]
    fn normalisation_follows_its_definition(
        batch in 1usize..6, channels in 1usize..7, positions in 1usize..700, relu: bool, offset in -50i32..50, seed: u64,
    ) {
        // A single value has no gradient but rounding.
        prop_assume!(batch * positions > 2);
        let n = Norm { batch, channels, positions, epsilon: 1e-5, relu };
        let x: Vec<f32> = values(batch * channels * positions, seed).iter().map(|v| v + offset as f32).collect();
        let [w, b] = [values(channels, seed ^ 1), values(channels, seed ^ 2)];
        let g = values(x.len(), seed ^ 3);
        let got = run_on_gpus(|t| {
            let [x, w, b, g] = [&x, &w, &b, &g].map(|v| up(t, v));
            let [mean, variance] = [0.5, 2.0].map(|v| up(t, &vec![v; channels]));
            let running = [t.read(&mean), t.read(&variance)];
            let (moments, [mean, variance]) = n.moments(t, t.read(&x), running, 0.25).unwrap();
            let (moments, of) = (t.read(&moments), [t.read(&w), t.read(&b)]);
            let y = n.apply(t, t.read(&x), moments, of).unwrap();
            let grads = n.gradients(t, [t.read(&x), t.read(&g)], moments, of, true).unwrap();
            vec![y, grads.x.unwrap(), grads.weight, grads.bias, mean, variance]
        });
        let mut expected = norm_oracle(&n, [&wide(&x), &wide(&w), &wide(&b), &wide(&g)], None);
        // Where the ReLU is within rounding of its corner, the gradient may take either side.
        let [hat_w, hat_b] = [wide(&w), wide(&b)];
        let line = Norm { relu: false, ..n };
        let before = norm_oracle(&line, [&wide(&x), &hat_w, &hat_b, &wide(&g)], None);
        prop_assume!(!relu || before[0].iter().all(|y| y.abs() > 1e-4));
        for (running, old) in [(4, 0.5), (5, 2.0)] {
            expected[running].iter_mut().for_each(|v| *v = 0.75 * old + 0.25 * *v);
        }
        let count = batch * positions;
        // An offset costs digits of x itself.
        let digits = 1 + (offset * offset) as usize;
        for (i, what) in ["y", "dx", "dw", "db", "mean", "variance"].iter().enumerate() {
            check(what, &got[i], &expected[i], count * digits * 9)?;
        }
    }

}

#[test]
fn statistics_that_are_given_are_used_as_they_are_and_nan_passes() {
    let n = Norm { batch: 1, channels: 1, positions: 3, epsilon: 0.0, relu: true };
    let got = run_on_gpus(|t| {
        let [x, w, b] = [&vec![3.0, -3.0, f32::NAN], &vec![2.0], &vec![1.0]].map(|v| up(t, v));
        let moments = n.given(t, t.read(&up(t, &[1.0])), t.read(&up(t, &[4.0]))).unwrap();
        vec![n.apply(t, t.read(&x), t.read(&moments), [t.read(&w), t.read(&b)]).unwrap()]
    });
    assert_eq!(got[0][..2], [3.0, 0.0]);
    assert!(got[0][2].is_nan());
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let t = Gpu::emulated();
    let [three, two] = [3, 2].map(|n| up(&t, &vec![0.0; n]));
    let message = add(&t, t.read(&three), t.read(&two)).err().unwrap().to_string();
    assert_eq!(message, "add: b has 2 elements instead of 3");
    assert!(mean_forward(&t, t.read(&three), 2).is_err());
}

#[test]
fn a_step_of_descent_follows_its_definition_and_norms_are_clipped() {
    let (n, sizes) = (40_000, [40_000, 3]);
    let [p, g, b] = [1, 2, 3].map(|seed| values(n, seed));
    let small = values(sizes[1], 4);
    let norm = wide(&g).iter().chain(&wide(&small)).map(|v| v * v).sum::<f64>().sqrt();
    for (max_norm, scale) in [(1.0, 1.0 / (norm + 1e-6)), (1e9, 1.0)] {
        let got = run_on_gpus(|t| {
            let [p, g, b, small] = [&p, &g, &b, &small].map(|v| up(t, v));
            let scale = clip_scale(t, &[t.read(&g), t.read(&small)], max_norm).unwrap();
            let descent = SgdStep { decay: 0.01, momentum: 0.9, rate: 0.1 };
            let operands = [t.read(&p), t.read(&g), t.read(&b)];
            let [new_p, new_b] = descent.step(t, operands, t.read(&scale)).unwrap();
            vec![scale, new_p, new_b]
        });
        check("scale", &got[0], &[scale], 1).unwrap();
        let of = |i: usize| {
            let (p, g, b) = (f64::from(p[i]), f64::from(g[i]), f64::from(b[i]));
            let g = scale * g + 0.01 * p;
            let b = 0.9 * b + g;
            (p - 0.1 * (g + 0.9 * b), b)
        };
        let (new_p, new_b): (Vec<f64>, Vec<f64>) = (0..n).map(of).unzip();
        check("p", &got[1], &new_p, 1).unwrap();
        check("buffer", &got[2], &new_b, 1).unwrap();
    }
}

#[test]
fn dropout_follows_the_generator() {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{RngCore, SeedableRng},
    };
    let key: [u32; 8] = std::array::from_fn(|i| (i as u32 + 1) * 0x0123_4567);
    let bytes: Vec<u8> = key.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (x, stream, threshold) = (values(1000, 5), 96, u32::MAX / 5 * 4);
    let got = run_on_gpus(|t| vec![dropout(t, t.read(&up(t, &x)), key, stream, threshold, 1.25).unwrap()]);
    for (number, part) in x.chunks(stream).enumerate() {
        let mut generator = ChaCha8Rng::from_seed(bytes.clone().try_into().unwrap());
        generator.set_stream(number as u64);
        for (i, x) in part.iter().enumerate() {
            let expected = if generator.next_u32() >= threshold { x * 1.25 } else { 0.0 };
            assert_eq!(got[0][number * stream + i], expected, "{number} {i}");
        }
    }
    let t = Gpu::emulated();
    assert!(dropout(&t, t.read(&up(&t, &[1.0])), key, 8, 0, 1.0).is_err());
}
