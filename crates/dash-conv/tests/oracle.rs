//! Every algorithm against the naive double-precision definition, forward and gradients, over
//! random shapes, groups, strides and tap sets.

#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use candle_core::{Device, Tensor, Var};
use dash_conv::{Algorithm, ConvOptions, ConvProblem, GradientsOf, Machine, TapConv, TapSet};
use proptest::prelude::*;
use support::{cases, compare, layers_of_networks, run, suits, values};

/// The algorithms that can compute a problem.
fn suitable(problem: &ConvProblem) -> impl Iterator<Item = Algorithm> + use<> {
    let problem = problem.clone();
    Algorithm::ALL.into_iter().filter(move |&algorithm| suits(algorithm, &problem, &Machine::CPU))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_algorithm_equals_the_oracle(case in cases()) {
        let algorithms: Vec<_> = std::iter::once(None).chain(suitable(&case.problem()).map(Some)).collect();
        compare(&case, &algorithms, None)?;
    }

    #[test]
    fn results_have_the_same_bits_for_any_number_of_threads(case in cases()) {
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        for algorithm in suitable(&case.problem()) {
            let one = pool(1).install(|| run(&case, Some(algorithm), None));
            for threads in [2, 3, 7] {
                let many = pool(threads).install(|| run(&case, Some(algorithm), None));
                prop_assert_eq!(&one.y, &many.y);
                prop_assert_eq!(&one.dx, &many.dx);
                prop_assert_eq!(&one.dw, &many.dw);
                prop_assert_eq!(&one.db, &many.db);
            }
        }
    }
}

#[test]
fn sizes_of_the_networks_equal_the_oracle() {
    for case in layers_of_networks() {
        let algorithms: Vec<_> = suitable(&case.problem()).map(Some).collect();
        compare(&case, &algorithms, None).unwrap();
    }
}

#[test]
fn non_contiguous_inputs_and_gradients_give_the_same_results() {
    let device = Device::Cpu;
    let conv = TapConv::new(TapSet::centred(1, 3, 1).unwrap(), ConvOptions::default()).unwrap();
    let x = Var::from_vec(values(24, 1), (2, 4, 3), &device).unwrap();
    let w = Var::from_vec(values(18, 2), (2, 3, 3), &device).unwrap();
    // The transposed view and its copy must give the same values and gradients.
    let view = x.transpose(1, 2).unwrap();
    let copy = Var::from_tensor(&view.contiguous().unwrap()).unwrap();
    let y = conv.forward(&view, &w, None).unwrap();
    let z = conv.forward(&copy, &w, None).unwrap();
    assert_eq!(y.to_vec3::<f32>().unwrap(), z.to_vec3::<f32>().unwrap());
    let factor = Tensor::from_vec(values(16, 3), (2, 4, 2), &device).unwrap();
    let loss =
        |y: &Tensor| (y.transpose(1, 2).unwrap() * &factor).unwrap().sum_all().unwrap().backward().unwrap();
    let (through_view, through_copy) = (loss(&y), loss(&z));
    let dx = through_view.get(&x).unwrap().transpose(1, 2).unwrap().to_vec3::<f32>().unwrap();
    assert_eq!(dx, through_copy.get(&copy).unwrap().to_vec3::<f32>().unwrap());
}

#[test]
fn values_and_gradients_without_a_graph_equal_those_of_the_graph() {
    let device = Device::Cpu;
    let tensor = |salt, shape: &[usize]| {
        Tensor::from_vec(values(shape.iter().product(), salt), shape, &device).unwrap()
    };
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for algorithm in [Algorithm::Fft, Algorithm::Gemm, Algorithm::Direct, Algorithm::Dft] {
        let taps = TapSet::centred(2, 3, 2).unwrap();
        let conv =
            TapConv::new(taps, ConvOptions { groups: 2, stride: [2, 2] }).unwrap().with_algorithm(algorithm);
        let [x, w, b] = [tensor(1, &[2, 4, 7, 6]), tensor(2, &[6, 2, 9]), tensor(3, &[6])]
            .map(|t| Var::from_tensor(&t).unwrap());
        let y = conv.forward(&x, &w, Some(&b)).unwrap();
        let z = conv.forward_detached(&x, &w, Some(&b)).unwrap();
        assert!(!z.track_op());
        assert_eq!(flat(&y), flat(&z));
        let grad = tensor(4, y.dims());
        let grads = (&y * &grad).unwrap().sum_all().unwrap().backward().unwrap();
        let found = conv.backward(&x, &w, &grad, GradientsOf::All).unwrap();
        for (var, gradient) in [(&x, &found.input.unwrap()), (&w, &found.weights), (&b, &found.bias)] {
            assert_eq!(gradient.dims(), var.dims());
            assert_eq!(flat(gradient), flat(grads.get(var).unwrap()));
        }
        let again = conv.backward(&x, &w, &grad, GradientsOf::Parameters).unwrap();
        assert!(again.input.is_none());
        assert_eq!(flat(&again.weights), flat(&found.weights));
        let error = conv.backward(&x, &w, &x, GradientsOf::All).unwrap_err().to_string();
        assert!(error.contains("the gradient has shape [2, 4, 7, 6]"), "{error}");
    }
}

#[test]
fn errors_name_the_tensor_of_the_wrong_shape() {
    let device = Device::Cpu;
    let conv = TapConv::new(TapSet::centred(2, 3, 1).unwrap(), ConvOptions::default()).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &device).unwrap();
    let message = |x: &[usize], w: &[usize], b: &[usize]| {
        conv.forward(&zeros(x), &zeros(w), Some(&zeros(b))).unwrap_err().to_string()
    };
    assert!(message(&[1, 2, 5], &[3, 2, 9], &[3]).contains("the input has shape [1, 2, 5]"));
    assert!(message(&[1, 2, 5, 5], &[3, 2, 8], &[3]).contains("expected [c_out, 2 / 1, 9]"));
    assert!(message(&[1, 2, 5, 5], &[3, 2, 9], &[4]).contains("the bias has shape [4]"));
    assert!(message(&[0, 2, 5, 5], &[3, 2, 9], &[3]).contains("the batch"));
}
