//! Every algorithm against the naive double-precision definition, forward and gradients, over
//! random shapes, groups, strides and tap sets.

#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use candle_core::{Device, Tensor, Var};
use dash_conv::{Algorithm, Problem, TapConv, TapSet, oracle};
use proptest::prelude::*;

/// A convolution with its sizes, and a seed for its values.
#[derive(Debug, Clone)]
struct Case {
    taps: TapSet,
    batch: usize,
    group_in: usize,
    group_out: usize,
    groups: usize,
    size: [usize; 2],
    stride: usize,
    seed: u64,
}

impl Case {
    fn x_shape(&self) -> Vec<usize> {
        let channels = self.groups * self.group_in;
        match self.taps.dims() {
            1 => vec![self.batch, channels, self.size[1]],
            _ => vec![self.batch, channels, self.size[0], self.size[1]],
        }
    }

    fn weight_shape(&self) -> Vec<usize> {
        vec![self.groups * self.group_out, self.group_in, self.taps.len()]
    }

    fn problem(&self) -> Problem {
        let conv = TapConv::new(self.taps.clone(), self.groups, self.stride).unwrap();
        conv.problem(&self.x_shape(), &self.weight_shape()).unwrap()
    }
}

fn tap_sets() -> impl Strategy<Value = TapSet> {
    let kernels = prop::collection::vec((prop::sample::select(vec![1usize, 3, 5, 7]), 1usize..6), 1..4);
    (kernels, 0..3).prop_map(|(kernels, kind)| {
        if kind == 0 {
            let (k, d) = kernels[0];
            return TapSet::causal(k + 1, d).unwrap();
        }
        let dims = kind as usize;
        let sets: Vec<_> = kernels.iter().map(|&(k, d)| TapSet::centred(dims, k, d).unwrap()).collect();
        TapSet::union(&sets).unwrap().0
    })
}

fn cases() -> impl Strategy<Value = Case> {
    let channels = (1usize..4, 1usize..4, 1usize..4);
    (tap_sets(), 1usize..5, channels, (1usize..15, 1usize..15), 1usize..4, any::<u64>()).prop_map(
        |(taps, batch, (group_in, group_out, groups), (h, w), stride, seed)| {
            let size = if taps.dims() == 1 { [1, 3 * w] } else { [h, w] };
            // Every other case is depthwise.
            let (group_in, group_out) = if seed % 2 == 0 { (1, 1) } else { (group_in, group_out) };
            Case { taps, batch, group_in, group_out, groups, size, stride, seed }
        },
    )
}

/// Values in [-1, 1) from a small generator.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

struct Results {
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
    db: Vec<f32>,
}

fn run(case: &Case, algorithm: Option<Algorithm>) -> Results {
    let device = Device::Cpu;
    let p = case.problem();
    let [x_len, w_len, y_len] = p.lens();
    let var = |len, seed, shape: Vec<usize>| {
        Var::from_tensor(&Tensor::from_vec(values(len, seed), shape, &device).unwrap()).unwrap()
    };
    let x = var(x_len, case.seed, case.x_shape());
    let w = var(w_len, case.seed + 1, case.weight_shape());
    let b = var(p.c_out, case.seed + 2, vec![p.c_out]);
    let mut conv = TapConv::new(case.taps.clone(), case.groups, case.stride).unwrap();
    if let Some(algorithm) = algorithm {
        conv = conv.with_algorithm(algorithm);
    }
    let y = conv.forward(&x, &w, &b).unwrap();
    let grad = Tensor::from_vec(values(y_len, case.seed + 3), y.shape(), &device).unwrap();
    let grads = (&y * &grad).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let of = |v: &Var| flat(grads.get(v).unwrap());
    Results { y: flat(&y), dx: of(&x), dw: of(&w), db: of(&b) }
}

/// How far an algorithm may stray, relative to the largest value. The tensor operations that dft is
/// made of add up plain f32 sums one by one, as in its bias gradient; our own kernels do better.
fn tolerance(algorithm: Option<Algorithm>) -> f64 {
    if algorithm == Some(Algorithm::Dft) { 2e-5 } else { 2e-6 }
}

/// The algorithms that can compute a problem.
fn suitable(problem: &Problem) -> impl Iterator<Item = Algorithm> + use<> {
    let problem = problem.clone();
    Algorithm::ALL.into_iter().filter(move |algorithm| algorithm.suits(&problem))
}

fn check(
    what: &str,
    got: &[f32],
    expected: &[f64],
    algorithm: Option<Algorithm>,
    terms: usize,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len());
    // A sum of so many products is about this large; one that is smaller has cancelled, its rounding has not.
    let usual = (terms as f64).sqrt() / 3.0;
    let size = expected.iter().fold(usual.max(1.0), |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*g) - e).abs() / size;
        prop_assert!(error < tolerance(algorithm), "{} [{}]: {} against {}", what, i, g, e);
    }
    Ok(())
}

/// How many products a value of y, of dx, and of dw is the sum of, at most.
fn terms(p: &Problem) -> (usize, usize, usize) {
    (p.group_in() * p.offsets.len(), p.group_out() * p.offsets.len(), p.batch * p.out_plane())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_algorithm_equals_the_oracle(case in cases()) {
        let p = case.problem();
        let [x_len, w_len, y_len] = p.lens();
        let wide = |len, seed| values(len, seed).into_iter().map(f64::from).collect::<Vec<_>>();
        let (x, w) = (wide(x_len, case.seed), wide(w_len, case.seed + 1));
        let y = oracle::forward(&p, &x, &w, &wide(p.c_out, case.seed + 2));
        let grads = oracle::backward(&p, &x, &w, &wide(y_len, case.seed + 3));
        let terms = terms(&p);
        for algorithm in std::iter::once(None).chain(suitable(&p).map(Some)) {
            let got = run(&case, algorithm);
            let name = format!("{algorithm:?}");
            check(&format!("{name} y"), &got.y, &y, algorithm, terms.0)?;
            check(&format!("{name} dx"), &got.dx, &grads.input, algorithm, terms.1)?;
            check(&format!("{name} dw"), &got.dw, &grads.weights, algorithm, terms.2)?;
            check(&format!("{name} db"), &got.db, &grads.bias, algorithm, terms.2)?;
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit(case in cases()) {
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        for algorithm in suitable(&case.problem()) {
            let one = pool(1).install(|| run(&case, Some(algorithm)));
            for threads in [2, 3, 7] {
                let many = pool(threads).install(|| run(&case, Some(algorithm)));
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
    let union = |k: &[usize], d: &[usize], dims| {
        let sets: Vec<_> =
            k.iter().flat_map(|&k| d.iter().map(move |&d| TapSet::centred(dims, k, d).unwrap())).collect();
        TapSet::union(&sets).unwrap().0
    };
    let two = union(&[3, 5, 7, 9], &[1, 3, 7, 15], 2);
    let one = union(&[3, 7, 11, 15, 19], &[1, 3, 7, 15], 1);
    let case = |taps: &TapSet, batch, group_in, group_out, groups, size, stride| {
        let seed = 5;
        Case { taps: taps.clone(), batch, group_in, group_out, groups, size, stride, seed }
    };
    for case in [
        case(&two, 2, 1, 1, 32, [32, 32], 2),
        case(&two, 2, 1, 1, 16, [16, 52], 1),
        case(&two, 3, 3, 16, 1, [29, 29], 1),
        case(&two, 2, 16, 9, 1, [8, 8], 1),
        case(&one, 3, 4, 8, 1, [1, 1000], 1),
        case(&one, 20, 1, 1, 4, [1, 46], 1),
        case(&TapSet::centred(2, 3, 1).unwrap(), 2, 16, 32, 1, [57, 57], 2),
        case(&TapSet::causal(8, 1).unwrap(), 3, 8, 8, 1, [1, 9000], 1),
        case(&TapSet::centred(1, 3, 7).unwrap(), 5, 64, 128, 1, [1, 46], 1),
        case(&TapSet::centred(2, 3, 1).unwrap(), 2, 64, 48, 1, [16, 17], 1),
        case(&TapSet::centred(2, 3, 3).unwrap(), 2, 19, 33, 2, [8, 8], 1),
        case(&TapSet::causal(3, 2).unwrap(), 2, 20, 70, 1, [1, 100], 1),
    ] {
        let p = case.problem();
        let [x_len, w_len, y_len] = p.lens();
        let wide = |len, seed| values(len, seed).into_iter().map(f64::from).collect::<Vec<_>>();
        let (x, w) = (wide(x_len, case.seed), wide(w_len, case.seed + 1));
        let y = oracle::forward(&p, &x, &w, &wide(p.c_out, case.seed + 2));
        let grads = oracle::backward(&p, &x, &w, &wide(y_len, case.seed + 3));
        let terms = terms(&p);
        for algorithm in suitable(&p) {
            let got = run(&case, Some(algorithm));
            check("y", &got.y, &y, Some(algorithm), terms.0).unwrap();
            check("dx", &got.dx, &grads.input, Some(algorithm), terms.1).unwrap();
            check("dw", &got.dw, &grads.weights, Some(algorithm), terms.2).unwrap();
            check("db", &got.db, &grads.bias, Some(algorithm), terms.2).unwrap();
        }
    }
}

#[test]
fn a_non_contiguous_input_or_gradient_is_read_right() {
    let device = Device::Cpu;
    let conv = TapConv::new(TapSet::centred(1, 3, 1).unwrap(), 1, 1).unwrap();
    let x = Var::from_vec(values(24, 1), (2, 4, 3), &device).unwrap();
    let w = Var::from_vec(values(18, 2), (2, 3, 3), &device).unwrap();
    let b = Tensor::zeros(2, candle_core::DType::F32, &device).unwrap();
    // The transposed view and its copy must give the same values and gradients.
    let view = x.transpose(1, 2).unwrap();
    let copy = Var::from_tensor(&view.contiguous().unwrap()).unwrap();
    let y = conv.forward(&view, &w, &b).unwrap();
    let z = conv.forward(&copy, &w, &b).unwrap();
    assert_eq!(y.to_vec3::<f32>().unwrap(), z.to_vec3::<f32>().unwrap());
    let factor = Tensor::from_vec(values(16, 3), (2, 4, 2), &device).unwrap();
    let loss =
        |y: &Tensor| (y.transpose(1, 2).unwrap() * &factor).unwrap().sum_all().unwrap().backward().unwrap();
    let (through_view, through_copy) = (loss(&y), loss(&z));
    let dx = through_view.get(&x).unwrap().transpose(1, 2).unwrap().to_vec3::<f32>().unwrap();
    assert_eq!(dx, through_copy.get(&copy).unwrap().to_vec3::<f32>().unwrap());
}

#[test]
fn values_and_gradients_without_a_graph_are_those_of_the_graph() {
    let device = Device::Cpu;
    let tensor = |salt, shape: &[usize]| {
        Tensor::from_vec(values(shape.iter().product(), salt), shape, &device).unwrap()
    };
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for algorithm in [Algorithm::Fft, Algorithm::Gemm, Algorithm::Direct, Algorithm::Dft] {
        let taps = TapSet::centred(2, 3, 2).unwrap();
        let conv = TapConv::new(taps, 2, 2).unwrap().with_algorithm(algorithm);
        let [x, w, b] = [tensor(1, &[2, 4, 7, 6]), tensor(2, &[6, 2, 9]), tensor(3, &[6])]
            .map(|t| Var::from_tensor(&t).unwrap());
        let y = conv.forward(&x, &w, &b).unwrap();
        let z = conv.convolve(&x, &w, &b).unwrap();
        assert!(!z.track_op());
        assert_eq!(flat(&y), flat(&z));
        let grad = tensor(4, y.dims());
        let grads = (&y * &grad).unwrap().sum_all().unwrap().backward().unwrap();
        let (dx, dw, db) = conv.gradients(&x, &w, &grad, true).unwrap();
        for (var, found) in [(&x, &dx.unwrap()), (&w, &dw), (&b, &db)] {
            assert_eq!(found.dims(), var.dims());
            assert_eq!(flat(found), flat(grads.get(var).unwrap()));
        }
        let (dx, again, _) = conv.gradients(&x, &w, &grad, false).unwrap();
        assert!(dx.is_none());
        assert_eq!(flat(&again), flat(&dw));
        let error = conv.gradients(&x, &w, &x, true).unwrap_err().to_string();
        assert!(error.contains("the gradient has shape [2, 4, 7, 6]"), "{error}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let device = Device::Cpu;
    let conv = TapConv::new(TapSet::centred(2, 3, 1).unwrap(), 1, 1).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, candle_core::DType::F32, &device).unwrap();
    let message = |x: &[usize], w: &[usize], b: &[usize]| {
        conv.forward(&zeros(x), &zeros(w), &zeros(b)).unwrap_err().to_string()
    };
    assert!(message(&[1, 2, 5], &[3, 2, 9], &[3]).contains("the input has shape [1, 2, 5]"));
    assert!(message(&[1, 2, 5, 5], &[3, 2, 8], &[3]).contains("expected [c_out, 2 / 1, 9]"));
    assert!(message(&[1, 2, 5, 5], &[3, 2, 9], &[4]).contains("the bias has shape [4]"));
    assert!(message(&[0, 2, 5, 5], &[3, 2, 9], &[3]).contains("the batch"));
}
