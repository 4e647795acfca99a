//! Helpers for the tests of algorithms: random convolutions, and their comparison with the definition.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "shared by tests of which each uses a part")]

use candle_core::{Device, Tensor, Var};
use dash_conv::{Algorithm, ConvOptions, ConvProblem, Machine, Plan, Planner, TapConv, TapSet, oracle};
use dash_cuda::Gpu;
use proptest::prelude::*;

/// A convolution with its sizes and a seed for its values.
#[derive(Debug, Clone)]
pub struct Case {
    pub taps: TapSet,
    pub batch: usize,
    pub group_in: usize,
    pub group_out: usize,
    pub groups: usize,
    pub size: [usize; 2],
    pub stride: usize,
    pub seed: u64,
}

impl Case {
    pub fn x_shape(&self) -> Vec<usize> {
        let channels = self.groups * self.group_in;
        match self.taps.dims() {
            1 => vec![self.batch, channels, self.size[1]],
            _ => vec![self.batch, channels, self.size[0], self.size[1]],
        }
    }

    pub fn weight_shape(&self) -> Vec<usize> {
        vec![self.groups * self.group_out, self.group_in, self.taps.len()]
    }

    pub fn conv(&self) -> TapConv {
        let options = ConvOptions { groups: self.groups, stride: [self.stride; 2] };
        TapConv::new(self.taps.clone(), options).unwrap()
    }

    pub fn problem(&self) -> ConvProblem {
        self.conv().problem(&self.x_shape(), &self.weight_shape()).unwrap()
    }
}

pub fn tap_sets() -> impl Strategy<Value = TapSet> {
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

pub fn cases() -> impl Strategy<Value = Case> {
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
pub fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

pub struct Results {
    pub y: Vec<f32>,
    pub dx: Vec<f32>,
    pub dw: Vec<f32>,
    pub db: Vec<f32>,
}

pub fn run(case: &Case, algorithm: Option<Algorithm>, gpu: Option<&Gpu>) -> Results {
    let device = &gpu.map_or(Device::Cpu, Gpu::device);
    let p = case.problem();
    let [x_len, w_len, y_len] = p.lens();
    let var = |len, seed, shape: Vec<usize>| {
        Var::from_tensor(&Tensor::from_vec(values(len, seed), shape, device).unwrap()).unwrap()
    };
    let x = var(x_len, case.seed, case.x_shape());
    let w = var(w_len, case.seed + 1, case.weight_shape());
    let b = var(p.c_out(), case.seed + 2, vec![p.c_out()]);
    let planner = Planner::default().on_gpu(gpu);
    let mut conv = case.conv().with_planner(&planner);
    if let Some(algorithm) = algorithm {
        conv = conv.with_algorithm(algorithm);
    }
    let y = conv.forward(&x, &w, Some(&b)).unwrap();
    let grad = Tensor::from_vec(values(y_len, case.seed + 3), y.shape(), device).unwrap();
    let grads = (&y * &grad).unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let of = |v: &Var| flat(grads.get(v).unwrap());
    Results { y: flat(&y), dx: of(&x), dw: of(&w), db: of(&b) }
}

/// Whether an algorithm can compute a problem on a machine.
pub fn suits(algorithm: Algorithm, problem: &ConvProblem, machine: &Machine) -> bool {
    !Plan::candidates(algorithm, problem, machine).is_empty()
}

/// The largest error of an algorithm, relative to the largest value. The tensor operations of dft add up plain f32 sums one
/// by one, as in its bias gradient; our own loops are more accurate.
fn tolerance(algorithm: Option<Algorithm>) -> f64 {
    if algorithm == Some(Algorithm::Dft) { 2e-5 } else { 2e-6 }
}

fn check(
    what: &str,
    got: &[f32],
    expected: &[f64],
    algorithm: Option<Algorithm>,
    terms: usize,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(got.len(), expected.len());
    // The usual size of a sum of so many products. A smaller sum has cancelled, but its rounding errors have not.
    let usual = (terms as f64).sqrt() / 3.0;
    let size = expected.iter().fold(usual.max(1.0), |m, v| m.max(v.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let error = (f64::from(*g) - e).abs() / size;
        prop_assert!(error < tolerance(algorithm), "{} [{}]: {} against {}", what, i, g, e);
    }
    Ok(())
}

/// The largest number of products in the sum of an element of y, of dx, and of dw.
fn terms(p: &ConvProblem) -> (usize, usize, usize) {
    (p.group_in() * p.offsets().len(), p.group_out() * p.offsets().len(), p.batch() * p.out_plane())
}

/// Compares algorithms, or with `None` the planner's choice, with the definition.
pub fn compare(
    case: &Case,
    algorithms: &[Option<Algorithm>],
    gpu: Option<&Gpu>,
) -> Result<(), TestCaseError> {
    let p = case.problem();
    let [x_len, w_len, y_len] = p.lens();
    let wide = |len, seed| values(len, seed).into_iter().map(f64::from).collect::<Vec<_>>();
    let (x, w) = (wide(x_len, case.seed), wide(w_len, case.seed + 1));
    let y = oracle::forward(&p, &x, &w, &wide(p.c_out(), case.seed + 2));
    let grads = oracle::backward(&p, &x, &w, &wide(y_len, case.seed + 3));
    let terms = terms(&p);
    for &algorithm in algorithms {
        let got = run(case, algorithm, gpu);
        let name = format!("{algorithm:?}");
        check(&format!("{name} y"), &got.y, &y, algorithm, terms.0)?;
        check(&format!("{name} dx"), &got.dx, &grads.input, algorithm, terms.1)?;
        check(&format!("{name} dw"), &got.dw, &grads.weights, algorithm, terms.2)?;
        check(&format!("{name} db"), &got.db, &grads.bias, algorithm, terms.2)?;
    }
    Ok(())
}

/// Layers of the backbones of the benchmark tasks.
pub fn layers_of_networks() -> Vec<Case> {
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
    vec![
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
    ]
}
