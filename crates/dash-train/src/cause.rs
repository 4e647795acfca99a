//! Why a loss or a metric is not a finite number, and which settings can be at fault.

use crate::stage::TrainingStage;
use candle_core::{Device, Tensor};
use dash_core::targets::Targets;
use dash_data::Batch;
use dash_nn::{ParamKind, Params};

/// Why a loss or a metric is not finite.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// It was not finite before the first step: no learning rate is at fault.
    BeforeAnyStep,
    /// Each step subtracts more than the whole weight.
    Decay {
        /// Weight decay.
        decay: f64,
        /// Learning rate of the weights.
        rate: f64,
    },
    /// Weights are not finite, architecture parameters are.
    Weights {
        /// The first of them.
        name: String,
    },
    /// Architecture parameters are not finite, weights are.
    Architecture {
        /// The first of them.
        name: String,
    },
    /// Weights and architecture parameters are not finite.
    All,
    /// All parameters are finite, but the outputs that the network computes from them are too large.
    Outputs,
    /// The device updated the parameters before the loss was known, so that they hold no evidence.
    Unknown,
}

impl Cause {
    /// Finds the cause in the parameters of a network whose loss or metric is not finite. Running statistics are no
    /// evidence, because they include the forward pass with that loss.
    ///
    /// # Errors
    /// If the parameters cannot be read.
    pub fn of(params: &Params) -> candle_core::Result<Cause> {
        let (mut weights, mut architecture) = (None, None);
        for param in params.iter() {
            let first = match param.kind() {
                ParamKind::Architecture => &mut architecture,
                _ => &mut weights,
            };
            if first.is_none() && !is_finite(&param.var().as_detached_tensor())? {
                *first = Some(param.name().to_owned());
            }
        }
        Ok(match (weights, architecture) {
            (None, None) => Cause::Outputs,
            (Some(name), None) => Cause::Weights { name },
            (None, Some(name)) => Cause::Architecture { name },
            (Some(_), Some(_)) => Cause::All,
        })
    }

    /// Weight decay as the cause, if a step subtracts `rate * decay` >= 1 of each weight and the decay is the larger
    /// factor.
    pub(crate) fn of_decay(rate: f64, decay: f64) -> Option<Cause> {
        (rate * decay >= 1.0 && decay > rate).then_some(Cause::Decay { decay, rate })
    }

    /// What to change, by the keys of the pipeline file that `stage` reads.
    pub fn hint(&self, stage: TrainingStage) -> String {
        let (rate, decay) = match stage {
            TrainingStage::Search => ("`search.learning_rate`", "`search.weight_decay`"),
            TrainingStage::Tune | TrainingStage::Retrain => ("`tune.learning_rates`", "`tune.weight_decays`"),
        };
        const ARCHITECTURE: &str = "smaller values of `search.arch_learning_rate` or of \
             `search.receptive_field_penalty.weight`, or a larger `search.grad_scale`";
        match self {
            Cause::BeforeAnyStep => {
                "no learning rate is at fault, because no step was taken: check the scale of inputs and \
                 targets (`dash-nas data inspect`) and `task.loss`"
                    .to_owned()
            }
            Cause::Decay { .. } => format!("use smaller values of {decay}, or of {rate}"),
            Cause::Weights { .. } => format!("use smaller values of {rate}"),
            Cause::Architecture { .. } => format!("use {ARCHITECTURE}"),
            Cause::Outputs | Cause::All | Cause::Unknown if stage == TrainingStage::Search => {
                format!("use smaller values of {rate}; or {ARCHITECTURE}")
            }
            Cause::Outputs | Cause::All | Cause::Unknown => format!("use smaller values of {rate}"),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::BeforeAnyStep => f.write_str("before any step was taken"),
            Cause::Decay { decay, rate } => {
                write!(
                    f,
                    "the weight decay {decay:?} at the learning rate {rate:?} subtracts more than the whole weight in each step"
                )
            }
            Cause::Weights { name } => write!(f, "the weights `{name}` are not finite"),
            Cause::Architecture { name } => {
                write!(f, "the architecture parameters `{name}` are not finite, the weights are")
            }
            Cause::All => f.write_str("weights and architecture parameters are not finite"),
            Cause::Outputs => f.write_str("all parameters are finite, outputs are too large"),
            Cause::Unknown => f.write_str("the parameters were updated before the loss was known"),
        }
    }
}

fn is_finite(tensor: &Tensor) -> candle_core::Result<bool> {
    let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().all(|value| value.is_finite()))
}

/// The part of a batch that is not finite: `inputs` or `targets`.
pub(crate) fn not_finite(batch: &Batch) -> Option<&'static str> {
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    match &batch.target {
        _ if !finite(&batch.input) || !finite(&batch.background) => Some("inputs"),
        Targets::Field(values) if !finite(values) => Some("targets"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_nn::{Init, ParamBuilder};

    fn cause(spoil: &[&str]) -> Cause {
        let mut params = ParamBuilder::new(0, 0, &dash_nn::Backend::cpu());
        params.weight("a", 2, Init::Constant(1.0)).unwrap();
        params.weight("b", 2, Init::Constant(1.0)).unwrap();
        params.architecture("stem.alpha", 2, Init::Constant(0.0)).unwrap();
        let params = params.finish();
        for name in spoil {
            let nan = Tensor::new(&[1f32, f32::NAN], &Device::Cpu).unwrap();
            let param = params.iter().find(|p| p.name() == *name).unwrap();
            param.var().set(&nan).unwrap();
        }
        Cause::of(&params).unwrap()
    }

    #[test]
    fn the_parameters_that_are_not_finite_are_named() {
        assert_eq!(cause(&[]), Cause::Outputs);
        assert_eq!(cause(&["b"]), Cause::Weights { name: "b".to_owned() });
        assert_eq!(cause(&["stem.alpha"]), Cause::Architecture { name: "stem.alpha".to_owned() });
        assert_eq!(cause(&["a", "stem.alpha"]), Cause::All);
    }

    #[test]
    fn hints_name_the_settings_that_can_be_at_fault() {
        let decay = Cause::of_decay(0.1, 20.0).unwrap();
        assert_eq!(Cause::of_decay(0.1, 5e-4), None);
        assert_eq!(Cause::of_decay(1e30, 5e-4), None);
        let weights = Cause::Weights { name: "a".to_owned() };
        let architecture = Cause::Architecture { name: "a".to_owned() };
        for (cause, stage, named, not) in [
            (&decay, TrainingStage::Tune, "tune.weight_decays", "search"),
            (&weights, TrainingStage::Retrain, "tune.learning_rates", "search"),
            (&weights, TrainingStage::Search, "search.learning_rate", "penalty"),
            (
                &architecture,
                TrainingStage::Search,
                "search.receptive_field_penalty.weight",
                "search.learning_rate",
            ),
            (&architecture, TrainingStage::Search, "search.grad_scale", "search.learning_rate"),
            (&Cause::Outputs, TrainingStage::Search, "search.learning_rate", "tune"),
            (&Cause::BeforeAnyStep, TrainingStage::Search, "task.loss", "learning_rate"),
        ] {
            let hint = cause.hint(stage);
            assert!(hint.contains(named) && !hint.contains(not), "{cause:?}: {hint}");
        }
    }

    #[test]
    fn values_of_a_batch_that_are_not_finite_are_found() {
        let batch = |input: f32, target: f32| Batch {
            rows: 1,
            shape: vec![2],
            input: vec![1.0, input],
            target: Targets::Field(vec![target]),
            background: Vec::new(),
        };
        assert_eq!(not_finite(&batch(0.0, 0.0)), None);
        assert_eq!(not_finite(&batch(f32::INFINITY, 0.0)), Some("inputs"));
        assert_eq!(not_finite(&batch(0.0, f32::NAN)), Some("targets"));
    }
}
