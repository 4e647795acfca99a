//! Tests operations by one suite that runs on the CPU, on the emulator, and on a GPU if there is one.

use super::Backend;
use crate::{
    activation::Activation,
    backend::{DropoutMask, NormOperands, Statistics, arch_gradient},
    error::Error,
    targets::Targets,
    testing::{assert_close, check_gradients, ramp},
};
use candle_core::{DType, Result, Tensor, Var};
use dash_core::{card::Scaling, pipeline::Loss};
use dash_cuda::Gpu;
use std::sync::Arc;

macro_rules! on_every_backend {
    ($($test:ident,)+) => {
        mod cpu {
            $(#[test]
            fn $test() {
                super::$test(&super::Backend::cpu());
            })+
        }
        mod emulator {
            $(#[test]
            fn $test() {
                super::$test(&super::Backend::gpu(super::Gpu::emulated()));
            })+
        }
        mod gpu {
            $(#[test]
            fn $test() {
                if let Some(gpu) = dash_cuda::gpu_for_test(stringify!($test)) {
                    super::$test(&super::Backend::gpu(gpu));
                }
            })+
        }
    };
}

on_every_backend! {
    a_batch_normalisation_follows_the_definition,
    running_statistics_normalise_as_they_are_and_nan_passes,
    operands_of_a_normalisation_that_do_not_fit_are_refused,
    a_mean_over_positions_follows_the_definition,
    sums_and_reshapes_have_the_right_gradients,
    dropout_keeps_and_scales_what_its_mask_says_and_its_gradient_sees_the_same_mask,
    dropout_masks_are_those_of_the_cpu,
    mixing_weights_are_a_softmax_with_its_gradient,
    architecture_gradients_are_normalised_and_penalised,
    cross_entropy_follows_the_definition,
    focal_follows_the_definition,
    binary_cross_entropy_follows_the_definition,
    masked_binary_cross_entropy_follows_the_definition,
    field_losses_follow_the_definition_with_and_without_decoding,
    targets_that_do_not_fit_are_refused,
    scalars_are_read_back,
}

fn attached(backend: &Backend, x: &Tensor) -> Result<Activation> {
    Activation::from_tensor(backend, x)
}

fn tensor(backend: &Backend, values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, backend.device()).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The definition of batch normalisation, in f64, one channel at a time.
fn normalised(dims: &[usize], x: &[f64], w: &[f64], b: &[f64], relu: bool) -> Vec<f64> {
    let (batch, c, n) = (dims[0], dims[1], dims[2..].iter().product::<usize>());
    let mut y = vec![0.0; x.len()];
    for channel in 0..c {
        let at = |s: usize, i: usize| (s * c + channel) * n + i;
        let all: Vec<usize> = (0..batch).flat_map(|s| (0..n).map(move |i| at(s, i))).collect();
        let mean = all.iter().map(|&i| x[i]).sum::<f64>() / all.len() as f64;
        let var = all.iter().map(|&i| (x[i] - mean).powi(2)).sum::<f64>() / all.len() as f64;
        for &i in &all {
            y[i] = (x[i] - mean) / (var + 1e-5).sqrt() * w[channel] + b[channel];
            if relu {
                y[i] = y[i].max(0.0);
            }
        }
    }
    y
}
fn a_batch_normalisation_follows_the_definition(backend: &Backend) {
    for (dims, relu) in [(vec![3, 2, 11], false), (vec![2, 3, 4, 5], true), (vec![5, 4, 1], true)] {
        let c = dims[1];
        let inputs =
            [(dims.clone(), ramp(dims.iter().product(), 1)), (vec![c], ramp(c, 2)), (vec![c], ramp(c, 3))];
        let (mean, variance) = (tensor(backend, vec![0.0; c], &[c]), tensor(backend, vec![1.0; c], &[c]));
        check_gradients(
            backend,
            &inputs,
            |t| {
                let (y, running) = attached(backend, &t[0])?.batch_norm(NormOperands {
                    weight: &t[1],
                    bias: &t[2],
                    mean: &mean,
                    variance: &variance,
                    epsilon: 1e-5,
                    relu,
                    statistics: Statistics::Batch { momentum: 0.1 },
                })?;
                assert!(running.is_some());
                y.into_tensor()
            },
            |v| normalised(&dims, &v[0], &v[1], &v[2], relu),
        );
    }
}

fn running_statistics_normalise_as_they_are_and_nan_passes(backend: &Backend) {
    let of_channel = |value: f32| tensor(backend, vec![value], &[1]);
    let x = attached(backend, &tensor(backend, vec![3.0, -3.0, f32::NAN], &[1, 1, 3])).unwrap();
    let (y, running) = x
        .batch_norm(NormOperands {
            weight: &of_channel(2.0),
            bias: &of_channel(1.0),
            mean: &of_channel(1.0),
            variance: &of_channel(4.0),
            epsilon: 0.0,
            relu: true,
            statistics: Statistics::Running,
        })
        .unwrap();
    assert!(running.is_none());
    let y = values(y.value());
    assert_close(&y[..2], &[3.0, 0.0], 1e-6);
    assert!(y[2].is_nan());
}

fn operands_of_a_normalisation_that_do_not_fit_are_refused(backend: &Backend) {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, backend.device()).unwrap();
    let refused = |x: &[usize], weight: &[usize], bias: &[usize]| {
        let (weight, bias) = (zeros(weight), zeros(bias));
        let operands = NormOperands {
            weight: &weight,
            bias: &bias,
            mean: &bias,
            variance: &bias,
            epsilon: 1e-5,
            relu: false,
            statistics: Statistics::Batch { momentum: 0.1 },
        };
        backend.batch_norm(&zeros(x), operands).is_err()
    };
    assert!(refused(&[2, 3, 4], &[2], &[3]));
    assert!(refused(&[2], &[2], &[2]));
    assert!(refused(&[0, 2, 3], &[2], &[2]));
}

fn a_mean_over_positions_follows_the_definition(backend: &Backend) {
    for dims in [vec![2, 3, 13], vec![3, 2, 4, 5], vec![1, 1, 1]] {
        let n: usize = dims[2..].iter().product();
        check_gradients(
            backend,
            &[(dims.clone(), ramp(dims.iter().product(), 4))],
            |t| attached(backend, &t[0])?.mean_over_positions()?.into_tensor(),
            |v| v[0].chunks(n).map(|p| p.iter().sum::<f64>() / n as f64).collect(),
        );
    }
}

/// Residual sums, where an operand meets itself again, and the removal of the position axis after pooling.
fn sums_and_reshapes_have_the_right_gradients(backend: &Backend) {
    let inputs = [(vec![2, 3, 4], ramp(24, 1)), (vec![2, 3, 4], ramp(24, 2))];
    check_gradients(
        backend,
        &inputs,
        |t| {
            let (a, b) = (attached(backend, &t[0])?, attached(backend, &t[1])?);
            let mean = a.add(&b)?.mean_over_positions()?.add(&a.mean_over_positions()?)?;
            mean.reshape((2, 3))?.into_tensor()
        },
        |v| {
            let mean = |i: usize, v: &[f64]| v[4 * i..4 * i + 4].iter().sum::<f64>() / 4.0;
            (0..6).map(|i| 2.0 * mean(i, &v[0]) + mean(i, &v[1])).collect()
        },
    );
}

const MASK: DropoutMask = DropoutMask { seed: 5, step: 7, layer: 2, probability: 0.25 };

fn dropout_keeps_and_scales_what_its_mask_says_and_its_gradient_sees_the_same_mask(backend: &Backend) {
    let x = Var::ones((10, 2000), DType::F32, backend.device()).unwrap();
    let dropped = |mask| values(attached(backend, &x).unwrap().dropout(mask).unwrap().value());
    let y = attached(backend, &x).unwrap().dropout(MASK).unwrap().into_tensor().unwrap();
    let grad = y.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone();
    let y = values(&y);
    assert_eq!(values(&grad), y);
    assert!(y.iter().all(|&v| v == 0.0 || v == (4.0f64 / 3.0) as f32));
    let kept = y.iter().filter(|&&v| v != 0.0).count();
    // Binomial with mean 15000 and standard deviation 61.
    assert!((14_700..15_300).contains(&kept), "{kept}");
    assert_eq!(y, dropped(MASK));
    for other in
        [DropoutMask { seed: 6, ..MASK }, DropoutMask { step: 8, ..MASK }, DropoutMask { layer: 3, ..MASK }]
    {
        assert_ne!(y, dropped(other));
    }
    assert_ne!(y[..DropoutMask::BLOCK], y[DropoutMask::BLOCK..2 * DropoutMask::BLOCK]);
    assert_eq!(dropped(DropoutMask { probability: 0.0, ..MASK }), vec![1.0; 20_000]);
}

fn dropout_masks_are_those_of_the_cpu(backend: &Backend) {
    let x = ramp(9000, 1);
    let dropped = |backend: &Backend| {
        values(&backend.dropout(&tensor(backend, x.clone(), &[9000]), MASK).unwrap().value)
    };
    assert_eq!(dropped(backend), dropped(&Backend::cpu()));
}

fn mixing_weights_are_a_softmax_with_its_gradient(backend: &Backend) {
    let noise = ramp(7, 2);
    let inputs = [(vec![7], ramp(7, 1).iter().map(|v| 3.0 * v).collect())];
    check_gradients(
        backend,
        &inputs,
        |t| backend.mixing_weights(&t[0], noise.clone()),
        |v| {
            let terms: Vec<f64> = v[0].iter().zip(&noise).map(|(a, &n)| (a + f64::from(n)).exp()).collect();
            terms.iter().map(|term| term / terms.iter().sum::<f64>()).collect()
        },
    );
    let alpha = tensor(backend, vec![1.0, f32::NAN], &[2]);
    assert!(values(&backend.mixing_weights(&alpha, vec![0.0; 2]).unwrap()).iter().all(|c| c.is_nan()));
    assert!(backend.mixing_weights(&alpha, vec![0.0; 3]).is_err());
}

fn architecture_gradients_are_normalised_and_penalised(backend: &Backend) {
    let (gradient, penalty) = ([3.0f32, -4.0, 0.0], [0.5, 0.0, -0.25]);
    for (scale, expected) in [(0.0, [3.5, -4.0, -0.25]), (2.0, [0.8, -0.4, -0.25])] {
        let found =
            backend.arch_gradient(&tensor(backend, gradient.to_vec(), &[3]), &penalty, scale).unwrap();
        assert_close(&values(&found), &expected, 1e-6);
        assert_close(&arch_gradient(&gradient, &penalty, scale), &expected, 1e-6);
    }
}

fn loss(backend: &Backend, output: &Tensor, loss: Loss, targets: Targets) -> Result<Tensor> {
    decoded_loss(backend, output, loss, targets, None)
}

fn decoded_loss(
    backend: &Backend,
    output: &Tensor,
    loss: Loss,
    targets: Targets,
    scaling: Option<&Arc<Scaling>>,
) -> Result<Tensor> {
    backend.loss(output, loss, targets, scaling).map_err(|error| match error {
        Error::Tensor(error) => error,
        other => candle_core::Error::wrap(other),
    })
}

const CLASSES: [i64; 4] = [2, 0, 1, 2];

fn logits() -> [(Vec<usize>, Vec<f32>); 1] {
    [(vec![4, 3], ramp(12, 1).iter().map(|v| 5.0 * v).collect())]
}

fn cross_entropy_follows_the_definition(backend: &Backend) {
    check_gradients(
        backend,
        &logits(),
        |t| loss(backend, &t[0], Loss::CrossEntropy, Targets::Class(CLASSES.to_vec())),
        |v| {
            let nll =
                |(row, &c): (&[f64], &i64)| row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[c as usize];
            vec![v[0].chunks(3).zip(&CLASSES).map(nll).sum::<f64>() / 4.0]
        },
    );
}

fn focal_follows_the_definition(backend: &Backend) {
    for gamma in [0.0, 0.5, 2.0] {
        check_gradients(
            backend,
            &logits(),
            |t| loss(backend, &t[0], Loss::Focal { gamma }, Targets::Class(CLASSES.to_vec())),
            |v| {
                let loss = |(row, &c): (&[f64], &i64)| {
                    let p = row[c as usize].exp() / row.iter().map(|x| x.exp()).sum::<f64>();
                    -(1.0 - p).powf(gamma) * (p + 1e-9).ln()
                };
                vec![v[0].chunks(3).zip(&CLASSES).map(loss).sum::<f64>() / 4.0]
            },
        );
    }
}

fn binary_cross_entropy_follows_the_definition(backend: &Backend) {
    let labels = [1u8, 0, 0, 1, 1, 0, 1, 0];
    let logits: Vec<f32> = ramp(8, 1).iter().map(|v| 4.0 * v).collect();
    for positive_weight in [1.0, 4.0] {
        let rule = Loss::BinaryCrossEntropy { positive_weight };
        check_gradients(
            backend,
            &[(vec![2, 4], logits.clone())],
            |t| loss(backend, &t[0], rule, Targets::Labels(labels.to_vec())),
            |v| {
                let term = |(&x, &t): (&f64, &u8)| {
                    let (p, t) = (1.0 / (1.0 + (-x).exp()), f64::from(t));
                    -(positive_weight * t * p.ln() + (1.0 - t) * (1.0 - p).ln())
                };
                vec![v[0].iter().zip(&labels).map(term).sum::<f64>() / 8.0]
            },
        );
    }
}

fn masked_binary_cross_entropy_follows_the_definition(backend: &Backend) {
    let bits = |salt| ramp(24, salt).iter().map(|&v| u8::from(v > 0.3)).collect::<Vec<u8>>();
    let (mask, ignore) = (bits(2), bits(3));
    let targets = || Targets::Mask { values: mask.clone(), ignore: ignore.clone() };
    let logits: Vec<f32> = ramp(24, 1).iter().map(|v| 4.0 * v).collect();
    check_gradients(
        backend,
        &[(vec![2, 1, 3, 4], logits)],
        |t| loss(backend, &t[0], Loss::MaskedBinaryCrossEntropy, targets()),
        |v| {
            // As the benchmark has it: outputs and targets are multiplied by 1 - ignore.
            let term = |((&x, &mask), &ignore): ((&f64, &u8), &u8)| {
                let seen = 1.0 - f64::from(ignore);
                let (p, y) = (seen / (1.0 + (-x).exp()), seen * f64::from(mask));
                -(y * p.ln().max(-100.0) + (1.0 - y) * (1.0 - p).ln().max(-100.0))
            };
            vec![v[0].iter().zip(&mask).zip(&ignore).map(term).sum::<f64>() / 24.0]
        },
    );
}

fn field_losses_follow_the_definition_with_and_without_decoding(backend: &Backend) {
    let (target, len) = (ramp(24, 2), 12);
    let scaling = Scaling { mean: ramp(len, 3), scale: ramp(len, 4).iter().map(|v| 1.5 + v).collect() };
    for scaling in [None, Some(Arc::new(scaling))] {
        let decode = |i: usize, x: f64| match &scaling {
            Some(s) => x * f64::from(s.scale[i % len]) + f64::from(s.mean[i % len]),
            None => x,
        };
        let check = |rule, oracle: &dyn Fn(&[f64]) -> f64| {
            check_gradients(
                backend,
                &[(vec![2, 1, 3, 4], ramp(24, 1))],
                |t| decoded_loss(backend, &t[0], rule, Targets::Field(target.clone()), scaling.as_ref()),
                |v| vec![oracle(&v[0])],
            );
        };
        check(Loss::MeanSquaredError, &|v| {
            let square =
                |(i, (&o, &t)): (usize, (&f64, &f32))| (decode(i, o) - decode(i, f64::from(t))).powi(2);
            v.iter().zip(&target).enumerate().map(square).sum::<f64>() / 24.0
        });
        check(Loss::RelativeL2, &|v| {
            let error = |(o, t): (&[f64], &[f32])| {
                let t: Vec<f64> = t.iter().enumerate().map(|(i, &x)| decode(i, f64::from(x))).collect();
                let d: f64 = o.iter().enumerate().map(|(i, &x)| (decode(i, x) - t[i]).powi(2)).sum();
                (d / t.iter().map(|x| x * x).sum::<f64>()).sqrt()
            };
            v.chunks(len).zip(target.chunks(len)).map(error).sum()
        });
    }
}

fn targets_that_do_not_fit_are_refused(backend: &Backend) {
    let output = Tensor::zeros((2, 3), DType::F32, backend.device()).unwrap();
    let of = |rule, targets| backend.loss(&output, rule, targets, None);
    let binary = Loss::BinaryCrossEntropy { positive_weight: 1.0 };
    assert!(of(Loss::CrossEntropy, Targets::Class(vec![0])).is_err());
    assert!(of(Loss::CrossEntropy, Targets::Class(vec![0, 3])).is_err());
    assert!(of(Loss::CrossEntropy, Targets::Class(vec![0, -1])).is_err());
    assert!(of(binary, Targets::Labels(vec![0; 5])).is_err());
    assert!(of(binary, Targets::Labels(vec![0, 1, 2, 0, 0, 0])).is_err());
    assert!(of(Loss::RelativeL2, Targets::Field(vec![0.0; 5])).is_err());
    assert!(of(Loss::MeanSquaredError, Targets::Field(vec![0.0; 5])).is_err());
    assert!(matches!(of(Loss::CrossEntropy, Targets::Field(vec![0.0; 6])), Err(Error::Unsuitable { .. })));
    let short = Arc::new(Scaling { mean: vec![0.0; 2], scale: vec![1.0; 2] });
    assert!(backend.loss(&output, Loss::RelativeL2, Targets::Field(vec![0.0; 6]), Some(&short)).is_err());
}

fn scalars_are_read_back(backend: &Backend) {
    for value in [1.5f32, -2.0] {
        let pending = backend.read_scalar(&tensor(backend, vec![value], &[1])).unwrap();
        assert_eq!(pending.ready().is_some(), !backend.is_asynchronous());
        assert_eq!(pending.wait().unwrap(), value);
    }
    assert!(backend.read_scalar(&tensor(backend, vec![1.0, 2.0], &[2])).is_err());
}
