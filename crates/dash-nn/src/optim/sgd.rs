//! Implements stochastic gradient descent.

use super::optimizer::{LearningRates, NamedTensors, Optimizer, OptimizerOptions, OptimizerSpec};
use crate::{
    backend::{SgdOperands, SgdRule},
    error::{Error, Result},
    gradients::Gradients,
    params::Params,
};
use candle_core::Tensor;
use std::collections::BTreeMap;

pub(super) const SPEC: OptimizerSpec = OptimizerSpec {
    name: "sgd",
    title: "stochastic gradient descent with Nesterov momentum",
    buffers: 1,
    build: |params, &OptimizerOptions { momentum, weight_decay }| {
        Ok(Box::new(Sgd::new(params, momentum, weight_decay)?))
    },
};

/// Stochastic gradient descent in PyTorch's convention, with Nesterov momentum:
/// g' = g + decay p; buffer = momentum buffer + g'; p -= rate (g' + momentum buffer).
pub struct Sgd {
    momentum: f64,
    weight_decay: f64,
    buffers: NamedTensors,
}

impl Sgd {
    /// An optimizer with zero momentum buffers for all of `params`.
    ///
    /// # Errors
    /// If `momentum` is not in [0, 1) or `weight_decay` is negative or not finite.
    pub fn new(params: &Params, momentum: f64, weight_decay: f64) -> Result<Sgd> {
        if !(0.0..1.0).contains(&momentum) {
            return Err(Error::Range { name: "momentum", value: momentum, must: "in [0, 1)" });
        }
        if !(weight_decay >= 0.0 && weight_decay.is_finite()) {
            return Err(Error::Range { name: "weight_decay", value: weight_decay, must: "zero or positive" });
        }
        let buffers = params
            .iter()
            .map(|p| Ok((p.name().to_owned(), p.var().as_detached_tensor().zeros_like()?)))
            .collect::<Result<_>>()?;
        Ok(Sgd { momentum, weight_decay, buffers })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, params: &Params, gradients: &Gradients, rates: LearningRates) -> Result<()> {
        let rule = SgdRule { momentum: self.momentum, weight_decay: self.weight_decay };
        let tensors = params.iter().zip(&gradients.tensors).zip(&mut self.buffers);
        let mut operands = tensors.map(|((param, gradient), (_, buffer))| SgdOperands {
            values: param.var(),
            gradient,
            buffer,
            rate: rates.of(param.kind()),
        });
        Ok(params.backend().sgd_step(&mut operands, rule, &gradients.scale)?)
    }

    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn state(&self) -> Result<NamedTensors> {
        self.buffers.iter().map(|(name, t)| Ok((name.clone(), t.copy()?))).collect()
    }

    fn load(&mut self, state: NamedTensors) -> Result<()> {
        if self.buffers.len() != state.len() {
            let reason = format!("are {} instead of {}", state.len(), self.buffers.len());
            return Err(Error::State { name: "momentum buffers".to_owned(), reason });
        }
        let mut state: BTreeMap<String, Tensor> = state.into_iter().collect();
        let mut loaded = Vec::with_capacity(self.buffers.len());
        for (name, old) in &self.buffers {
            let misfit = |reason: String| Error::State { name: name.clone(), reason };
            let new = state.remove(name).ok_or_else(|| misfit("has no momentum buffer".to_owned()))?;
            if old.dims() != new.dims() || old.dtype() != new.dtype() {
                let (expected, found) = (old.dims(), new.dims());
                return Err(misfit(format!(
                    "has a momentum buffer of shape {found:?} instead of {expected:?}"
                )));
            }
            loaded.push((name.clone(), new.to_device(old.device())?.copy()?));
        }
        self.buffers = loaded;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, ParamBuilder};

    fn two() -> Params {
        let mut b = ParamBuilder::new(1, 0, &crate::Backend::cpu());
        b.weight("w", 3, Init::Normal { std: 1.0 }).unwrap();
        b.architecture("alpha", 2, Init::Normal { std: 1.0 }).unwrap();
        b.finish()
    }

    fn value(params: &Params, i: usize) -> Vec<f64> {
        let v: Vec<f32> = params.iter().nth(i).unwrap().var().to_vec1().unwrap();
        v.into_iter().map(f64::from).collect()
    }

    /// loss = sum of w^2 + 3 * sum of alpha.
    fn loss(params: &Params) -> Tensor {
        let mut it = params.iter();
        let w = it.next().unwrap().var().sqr().unwrap().sum_all().unwrap();
        (w + (it.next().unwrap().var().sum_all().unwrap() * 3.0).unwrap()).unwrap()
    }

    #[test]
    fn five_steps_follow_the_rule_with_clipping_and_two_rates() {
        let params = two();
        let (m, d) = (0.9, 0.1);
        let mut sgd = Sgd::new(&params, m, d).unwrap();
        let mut p: Vec<Vec<f64>> = (0..2).map(|i| value(&params, i)).collect();
        let mut buffer = [vec![0.0; 3], vec![0.0; 2]];
        for _ in 0..5 {
            let mut grads = Gradients::of(&loss(&params), &params).unwrap();
            let norm = grads.norm().unwrap();
            grads.clip(1.0).unwrap();
            sgd.step(&params, &grads, LearningRates { weights: 0.1, architecture: 0.05 }).unwrap();

            let g = [p[0].iter().map(|w| 2.0 * w).collect::<Vec<_>>(), vec![3.0; 2]];
            let expected: f64 = g.iter().flatten().map(|v| v * v).sum::<f64>().sqrt();
            assert!((norm / expected - 1.0).abs() < 1e-5);
            let scale = (1.0 / (expected + 1e-6)).min(1.0);
            for (k, rate) in [(0, 0.1), (1, 0.05)] {
                for i in 0..p[k].len() {
                    let g = scale * g[k][i] + d * p[k][i];
                    buffer[k][i] = m * buffer[k][i] + g;
                    p[k][i] -= rate * (g + m * buffer[k][i]);
                }
            }
        }
        for k in 0..2 {
            for (found, expected) in value(&params, k).iter().zip(&p[k]) {
                assert!((found - expected).abs() < 1e-5, "{found} {expected}");
            }
        }
    }

    #[test]
    fn restored_momenta_continue_the_same_path() {
        let rates = LearningRates { weights: 0.1, architecture: 0.1 };
        let step = |params: &Params, sgd: &mut Sgd| {
            let grads = Gradients::of(&loss(params), params).unwrap();
            sgd.step(params, &grads, rates).unwrap();
        };
        let params = two();
        let mut sgd = Sgd::new(&params, 0.9, 0.0).unwrap();
        step(&params, &mut sgd);
        let (weights, momenta) = (params.state().unwrap(), sgd.state().unwrap());
        step(&params, &mut sgd);

        let other = two();
        other.load(&weights).unwrap();
        let mut restored = Sgd::new(&other, 0.9, 0.0).unwrap();
        restored.load(momenta.iter().rev().cloned().collect()).unwrap();
        step(&other, &mut restored);
        assert_eq!(value(&other, 0), value(&params, 0));
        assert!(restored.load(momenta[..1].to_vec()).is_err());
        let other_shape = vec![momenta[0].clone(), ("alpha".to_owned(), momenta[0].1.clone())];
        assert!(restored.load(other_shape).is_err());
        assert!(restored.load(weights.into_iter().chain(momenta).collect()).is_err());
    }

    #[test]
    fn hyperparameters_out_of_range_are_refused() {
        let params = two();
        for (m, d) in [(1.0, 0.0), (-0.1, 0.0), (f64::NAN, 0.0), (0.9, -1.0), (0.9, f64::NAN)] {
            assert!(matches!(Sgd::new(&params, m, d), Err(Error::Range { .. })));
        }
    }
}
