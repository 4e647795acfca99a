//! Follows a loss trace of another implementation step by step and reports the largest deviations.
//!
//!     cargo run --release -p dash-search --example parity -- FOLDER/ecg-search ...
//!
//! Reads `<argument>.json` and `<argument>.safetensors`: hyperparameters, initial parameters
//! (`init.<name>`, in forward order), inputs `x`, targets `y`, the noise `gumbel.<layer>` of a
//! search, the losses, gradient norms and final parameters that should come out.
#![allow(clippy::print_stdout, reason = "a program for people")]

use candle_core::{DType, Device, IndexOp, Tensor};
use dash_core::pipeline::{Backbone, Candidate, Loss, Metric, ReceptiveFieldPenalty, Search};
use dash_nn::{
    FixedKernels, ForwardContext, Gradients, LearningRates, Objective, Optimizer, ParamBuilder, Params, Sgd,
    Targets, build,
};
use dash_search::{ArchGradientRule, MixtureBuilder, SamplingNoise};
use serde_json::Value;
use std::collections::HashMap;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The noise of a trace: per layer, per step, one value per candidate.
struct Recorded(Vec<Vec<Vec<f32>>>);

impl SamplingNoise for Recorded {
    fn draw(&self, pass: &ForwardContext, layer: usize, candidates: usize) -> Vec<f32> {
        let step = usize::try_from(pass.step).ok();
        let noise = self.0.get(layer).zip(step).and_then(|(steps, step)| steps.get(step));
        // Without noise the comparison fails visibly.
        noise.cloned().unwrap_or_else(|| vec![f32::NAN; candidates])
    }
}

fn main() -> Result<()> {
    for base in std::env::args().skip(1) {
        follow(&base)?;
    }
    Ok(())
}

fn numbers<T>(value: &Value, convert: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    value.as_array().into_iter().flatten().filter_map(convert).collect()
}

fn sizes(value: &Value) -> Vec<usize> {
    numbers(value, |v| v.as_u64().and_then(|v| usize::try_from(v).ok()))
}

fn follow(base: &str) -> Result<()> {
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(format!("{base}.json"))?)?;
    let tensors = candle_core::safetensors::load(format!("{base}.safetensors"), &Device::Cpu)?;
    let get = |name: &str| tensors.get(name).ok_or_else(|| format!("{base}: no tensor `{name}`"));
    let number = |name: &str| trace[name].as_f64().ok_or_else(|| format!("{base}: no number `{name}`"));
    let searching = trace["stage"] == "search";
    let (x, y) = (get("x")?, get("y")?);
    let dense = y.dtype() == DType::F32;
    let input = x.dims()[2..].to_vec();
    let head = get("init.head.bias")?.elem_count();

    let backbone = match input.len() {
        2 => Backbone::Resnet1d { channels: None, causal: !searching },
        _ => Backbone::Wrn { depth: 16, width: trace["widen"].as_u64().unwrap_or(1) as usize },
    };
    let kernel_size_pull = ReceptiveFieldPenalty::KernelSize { weight: 1e-5 };
    let space = Search {
        kernel_sizes: sizes(&trace["kernel_sizes"]),
        dilations: sizes(&trace["dilations"]),
        grad_scale: number("grad_scale")?,
        receptive_field_penalty: if dense {
            kernel_size_pull
        } else {
            ReceptiveFieldPenalty::Extent { weight: 1e-5 }
        },
        ..Search::default()
    };
    let mut params = ParamBuilder::new(0, 0, &dash_nn::Backend::cpu());
    let network = if searching {
        let layers = tensors.keys().filter(|name| name.starts_with("gumbel.")).count();
        let noise =
            (0..layers).map(|i| Ok(get(&format!("gumbel.{i}"))?.to_vec2()?)).collect::<Result<_>>()?;
        build(
            &backbone,
            &input,
            head,
            dense,
            0.0,
            &mut MixtureBuilder::new(&space, Recorded(noise)),
            &mut params,
        )?
    } else {
        let pattern = numbers(&trace["pattern"], |pair| {
            let [kernel_size, dilation] = sizes(pair).try_into().ok()?;
            Some(Candidate { kernel_size, dilation })
        });
        build(&backbone, &input, head, dense, 0.0, &mut FixedKernels { pattern: Some(pattern) }, &mut params)?
    };
    let params = params.finish();
    let names: Vec<String> = numbers(&trace["names"], |v| v.as_str().map(str::to_owned));
    if names.len() != params.len() {
        return Err(format!("{base}: {} parameters here, {} in the trace", params.len(), names.len()).into());
    }
    for (param, name) in params.iter().zip(&names) {
        param.var().set(&get(&format!("init.{name}"))?.reshape(param.var().shape())?)?;
    }

    let loss = if dense { Loss::RelativeL2 } else { Loss::CrossEntropy };
    let objective = Objective { loss, metric: Metric::ZeroOneError, scaling: None };
    let rule = ArchGradientRule::new(
        space.grad_scale,
        space.receptive_field_penalty,
        &Candidate::enumerate(&space.kernel_sizes, &space.dilations),
    );
    let mut sgd = Sgd::new(&params, number("momentum")?, number("weight_decay")?)?;
    let rates = LearningRates { weights: number("lr")?, architecture: number("arch_lr")? };
    let (losses, norms) =
        (numbers(&trace["loss_f64"], Value::as_f64), numbers(&trace["grad_norm_f64"], Value::as_f64));
    let mut worst = [0f64; 2];
    let start = std::time::Instant::now();
    for (step, (expected_loss, expected_norm)) in losses.iter().zip(&norms).enumerate() {
        let targets = match dense {
            true => Targets::Field(y.i(step)?.flatten_all()?.to_vec1()?),
            false => Targets::Class(y.i(step)?.to_vec1()?),
        };
        let pass = ForwardContext { training: true, seed: 0, epoch: 0, step: step as u64 };
        let loss = objective.loss(params.backend(), &network.forward(&x.i(step)?, &pass)?, targets)?;
        let mut gradients = Gradients::of(&loss, &params)?;
        rule.apply(&params, &mut gradients)?;
        let norm = gradients.norm()?;
        if searching {
            gradients.clip(1.0)?;
        }
        sgd.step(&params, &gradients, rates)?;
        let found = [f64::from(loss.to_scalar::<f32>()?), norm];
        for ((worst, found), expected) in worst.iter_mut().zip(found).zip([expected_loss, expected_norm]) {
            let deviation = (found / expected - 1.0).abs();
            // Not `max`, which would ignore NaN.
            if deviation.is_nan() || deviation > *worst {
                *worst = deviation;
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64() / losses.len().max(1) as f64;
    let steps = losses.len();
    println!("{base}: {steps} steps, {:.1} ms each; largest relative deviations:", 1e3 * seconds);
    println!("  from the f64 run: loss {:.1e}, gradient norm {:.1e}", worst[0], worst[1]);
    let own = |single: &str, double: &[f64]| {
        let single = numbers(&trace[single], Value::as_f64);
        single.iter().zip(double).map(|(s, d)| (s / d - 1.0).abs()).fold(0.0, f64::max)
    };
    let (loss, norm) = (own("loss_f32", &losses), own("grad_norm_f32", &norms));
    println!("  the trace's f32 run from its f64 run: loss {loss:.1e}, gradient norm {norm:.1e}");
    let (deviation, name) = final_parameters(&params, &names, &tensors)?;
    println!("  from the f32 run: final parameters {deviation:.1e} (at {name})");
    let last = if input.len() == 2 { "block2.match_bn" } else { "bn" };
    for (mine, theirs) in [("running_mean", "mean"), ("running_var", "var")] {
        let buffer = params.buffers().iter().find(|b| b.name() == format!("{last}.{mine}"));
        let buffer = buffer.ok_or_else(|| format!("no buffer `{last}.{mine}`"))?;
        let deviation = distance(&buffer.tensor(), get(&format!("running.last_bn.{theirs}"))?)?;
        println!("  from the f32 run: {last}.{mine} {deviation:.1e}");
    }
    Ok(())
}

/// The parameter that is farthest from where it should be, relative to its norm.
fn final_parameters(
    params: &Params,
    names: &[String],
    tensors: &HashMap<String, Tensor>,
) -> Result<(f64, String)> {
    let mut worst = (0.0, String::new());
    for (param, name) in params.iter().zip(names) {
        let expected = tensors.get(&format!("final.{name}")).ok_or_else(|| format!("no final.{name}"))?;
        let deviation = distance(&param.var().as_detached_tensor(), expected)?;
        if deviation.is_nan() || deviation > worst.0 {
            worst = (deviation, format!("{} = {name}", param.name()));
        }
    }
    Ok(worst)
}

/// ||a - b|| / ||b||, where b counts as at least 0.001 per element: a bias in front of a batch
/// normalisation stays zero but for rounding.
fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    let wide = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64);
    let (a, b) = (wide(a)?, wide(b)?);
    let norm = |t: &Tensor| Ok::<f64, candle_core::Error>(t.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt());
    Ok(norm(&(a - &b)?)? / norm(&b)?.max(1e-3 * (b.elem_count() as f64).sqrt()))
}
