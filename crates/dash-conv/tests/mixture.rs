//! The mixture against its definition: the weighted sum of candidate convolutions.

#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use candle_core::{DType, Device, Tensor, Var};
use dash_conv::{ConvOptions, ConvProblem, MixedResults, Mixture, Planner, TapConv, TapSet, oracle};
use proptest::prelude::*;
use support::values;

fn candidates(dims: usize, kernel_sizes: &[usize], dilations: &[usize]) -> Vec<TapSet> {
    kernel_sizes
        .iter()
        .flat_map(|&k| dilations.iter().map(move |&d| TapSet::centred(dims, k, d).unwrap()))
        .collect()
}

/// The example of DASH, section 4.4, with results computed by hand.
#[test]
fn the_worked_example() {
    let device = Device::Cpu;
    let mixture = Mixture::new(&candidates(1, &[3, 5], &[1, 2])).unwrap();
    let c = Tensor::new(&[0.1f32, 0.2, 0.3, 0.4], &device).unwrap();
    let w =
        Tensor::new(&[1f32, 2., 3., 4., 5., 6., 1., -1., 2., -2., 1., 2., 0., -1., 0., 3.], &device).unwrap();
    let a = mixture.mix(&w, &c, 1, 1).unwrap();
    // Offsets -4 ..= 4 without the empty -3 and 3.
    let expected = [0.8, 1.1, -0.2, 1.4, -0.3, 1.5, 1.2];
    assert_eq!(mixture.taps().offsets().iter().map(|o| o[1]).collect::<Vec<_>>(), [-4, -2, -1, 0, 1, 2, 4]);
    for (got, expected) in a.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6);
    }
    let x = Tensor::new(&[[[1f32, 0., 2., -1., 3., 0.5, -2., 4., 1., 0., -1., 2.]]], &device).unwrap();
    for (stride, expected) in [
        (1, vec![8.0, -1.7, 6.3, 2.85, 5.45, 5.6, 1.1, 7.85, -0.7, 7.9, -2.5, 6.2]),
        (2, vec![8.0, 6.3, 5.45, 1.1, -0.7, -2.5]),
    ] {
        let conv = TapConv::new(
            mixture.taps().clone(),
            ConvOptions { stride: [stride; 2], ..ConvOptions::default() },
        )
        .unwrap();
        let y = conv.forward(&x, &a, None).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(y.len(), expected.len());
        for (got, expected) in y.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-5, "{got} against {expected}");
        }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[derive(Debug, Clone)]
struct Case {
    dims: usize,
    kernel_sizes: Vec<usize>,
    dilations: Vec<usize>,
    batch: usize,
    depthwise: bool,
    channels: [usize; 2],
    size: [usize; 2],
    stride: usize,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let space = (
        prop::sample::subsequence(vec![3usize, 5, 7, 9], 1..=3),
        prop::sample::subsequence(vec![1usize, 2, 3, 7], 1..=3),
    );
    let rest = (1usize..4, any::<bool>(), [1usize..4, 1usize..4], [2usize..12, 2usize..20], 1usize..3);
    (1usize..3, space, rest, any::<u64>()).prop_map(
        |(dims, (kernel_sizes, dilations), (batch, depthwise, channels, size, stride), seed)| Case {
            dims,
            kernel_sizes,
            dilations,
            batch,
            depthwise,
            channels,
            size: if dims == 1 { [1, size[1]] } else { size },
            stride,
            seed,
        },
    )
}

/// `terms` is the size of the terms of a sum. The terms may cancel, but their rounding errors do not.
fn check(what: &str, got: &Tensor, expected: &[f64], terms: f64) -> Result<(), TestCaseError> {
    let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    prop_assert_eq!(got.len(), expected.len(), "{}", what);
    let size = expected.iter().fold(terms, |m, v| m.max(v.abs()));
    for (g, e) in got.iter().zip(expected) {
        prop_assert!((f64::from(*g) - e).abs() / size < 3e-6, "{}: {} against {}", what, g, e);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// y = sum_i c_i conv(x, w_i) + bias, and its gradients in x, every w_i, every c_i and bias.
    #[test]
    fn the_mixture_is_the_sum_of_its_candidates(case in cases()) {
        let device = Device::Cpu;
        let sets = candidates(case.dims, &case.kernel_sizes, &case.dilations);
        let mixture = Mixture::new(&sets).unwrap();
        let [c_in, c_out] = if case.depthwise { [case.channels[0]; 2] } else { case.channels };
        let groups = if case.depthwise { c_in } else { 1 };
        let group_in = c_in / groups;
        let pairs = c_out * group_in;
        let stride = [if case.dims == 1 { 1 } else { case.stride }, case.stride];
        let problems: Vec<ConvProblem> = sets
            .iter()
            .map(|set| ConvProblem::new(set, [case.batch, c_in, case.size[0], case.size[1]], c_out, ConvOptions { groups, stride }).unwrap())
            .collect();
        let [x_len, _, y_len] = problems[0].lens();
        let x = values(x_len, case.seed);
        let w = values(mixture.weights_len(pairs), case.seed ^ 1);
        let c = values(sets.len(), case.seed ^ 2);
        let b = values(c_out, case.seed ^ 3);
        let g = values(y_len, case.seed ^ 4);

        // The definition, candidate by candidate in double precision.
        let mut y: Vec<f64> = vec![0.0; y_len];
        let (mut dx, mut dw, mut dc) = (vec![0.0; x_len], Vec::new(), Vec::new());
        let (mut start, mut db, mut dc_terms) = (0, Vec::new(), 1.0);
        for ((set, p), &c) in sets.iter().zip(&problems).zip(&c) {
            let own = wide(&w[start..start + pairs * set.len()]);
            start += own.len();
            let part = oracle::forward(p, &wide(&x), &own, &vec![0.0; c_out]);
            let grads = oracle::backward(p, &wide(&x), &own, &wide(&g));
            let c = f64::from(c);
            y.iter_mut().zip(&part).for_each(|(y, v)| *y += c * v);
            dx.iter_mut().zip(&grads.input).for_each(|(d, v)| *d += c * v);
            dw.extend(grads.weights.iter().map(|v| c * v));
            let products = part.iter().zip(&g).map(|(v, &g)| v * f64::from(g));
            dc_terms = f64::max(dc_terms, products.clone().map(|v| v * v).sum::<f64>().sqrt());
            dc.push(products.sum());
            db = grads.bias;
        }
        let out_plane = problems[0].out_plane();
        y.iter_mut().enumerate().for_each(|(i, y)| *y += f64::from(b[i / out_plane % c_out]));

        let var = |v: &[f32], shape: &[usize]| Var::from_vec(v.to_vec(), shape, &device).unwrap();
        let shape: Vec<usize> = if case.dims == 1 {
            vec![case.batch, c_in, case.size[1]]
        } else {
            vec![case.batch, c_in, case.size[0], case.size[1]]
        };
        let (x, w) = (var(&x, &shape), var(&w, &[w.len()]));
        let (c, b) = (var(&c, &[c.len()]), var(&b, &[b.len()]));
        let conv = TapConv::new(mixture.taps().clone(), ConvOptions { groups, stride }).unwrap();
        let union = conv.forward(&x, &mixture.mix(&w, &c, c_out, group_in).unwrap(), Some(&b)).unwrap();
        let results = MixedResults::new(&sets, ConvOptions { groups, stride }, &Planner::default()).unwrap();
        let results = results.forward(&x, &w, &c, &b).unwrap();
        // A sum of so many products of numbers in [-1, 1) is about this large.
        let size = |terms: usize| ((terms as f64).sqrt() / 3.0).max(1.0);
        let taps: usize = sets.iter().map(|set| set.len()).sum();
        for (way, out) in [("union", union), ("results", results)] {
            prop_assert_eq!(out.rank(), case.dims + 2);
            let g = Tensor::from_slice(&g, out.shape(), &device).unwrap();
            let grads = (&out * &g).unwrap().sum_all().unwrap().backward().unwrap();
            check(&format!("{way} y"), &out, &y, size(taps * group_in))?;
            check(&format!("{way} dx"), grads.get(&x).unwrap(), &dx, size(taps * c_out / groups))?;
            check(&format!("{way} dw"), grads.get(&w).unwrap(), &dw, size(y_len / c_out))?;
            check(&format!("{way} dc"), grads.get(&c).unwrap(), &dc, dc_terms)?;
            check(&format!("{way} db"), grads.get(&b).unwrap(), &db, size(y_len / c_out))?;
        }
    }
}

#[test]
fn errors_name_the_tensor_of_the_wrong_length() {
    let device = Device::Cpu;
    let mixture = Mixture::new(&candidates(1, &[3, 5], &[1])).unwrap();
    let zeros = |n: usize| Tensor::zeros(n, DType::F32, &device).unwrap();
    let message = |w, c| mixture.mix(&zeros(w), &zeros(c), 2, 1).unwrap_err().to_string();
    assert!(message(15, 2).contains("the candidates' weights has shape [15], expected [16]"));
    assert!(message(16, 3).contains("the coefficients has shape [3], expected [2]"));
    let results =
        MixedResults::new(&candidates(1, &[3, 5], &[1]), ConvOptions::default(), &Planner::default())
            .unwrap();
    let x = |channels: usize| Tensor::zeros((1, channels, 9), DType::F32, &device).unwrap();
    let message = |x, w, c| results.forward(&x, &zeros(w), &zeros(c), &zeros(2)).unwrap_err().to_string();
    assert!(message(x(1), 15, 2).contains("the candidates' weights has shape [15], expected [16]"));
    assert!(message(x(1), 16, 3).contains("the coefficients has shape [3], expected [2]"));
    assert!(message(x(2), 16, 2).contains("the candidates' weights has shape [16], expected [32]"));
    assert!(MixedResults::new(&[], ConvOptions::default(), &Planner::default()).is_err());
}
