//! Writes a report about synthetic values: `cargo run -p dash-report --example render -- FOLDER`.
//! Nothing in it was measured; the shapes are those of real runs.

use dash_core::{
    architecture::{Architecture, Hyperparameters, LayerChoice},
    pipeline::{Candidate, Method, Protocol},
    results::{Epoch, ResultRow, RunDetail, StageSeconds, Status},
};
use dash_report::{PipelineConfig, ReportInput, render};
use std::{error::Error, path::Path};

/// A number in 0..1 that depends on its arguments only (SplitMix64's finaliser).
fn noise(seed: u64, index: usize, purpose: u64) -> f64 {
    let mut z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add((index as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .wrapping_add(purpose << 32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

fn history(seed: u64, epochs: usize, from: f64, to: f64, purpose: u64) -> Vec<Epoch> {
    let epoch = |epoch: usize| {
        let progress = (epoch as f64 + 0.5) / epochs as f64;
        let wobble = 1.0 + 0.12 * (noise(seed, epoch, purpose) - 0.5);
        let loss = to + (from - to) * (-5.0 * progress).exp();
        let evaluated = epoch % 5 == 4;
        Epoch {
            epoch,
            learning_rate: 0.1,
            train_loss: loss * wobble,
            score: evaluated.then(|| 0.11 * loss * (1.0 + 0.2 * (noise(seed, epoch, purpose + 1) - 0.5))),
        }
    };
    (0..epochs).map(epoch).collect()
}

fn architecture(seed: u64, names: &[String], kernel_sizes: &[usize], dilations: &[usize]) -> Architecture {
    let candidates = Candidate::enumerate(kernel_sizes, dilations);
    let layer = |(i, name): (usize, &String)| {
        let favourite = (noise(seed / 2, i, 7) * candidates.len() as f64) as usize;
        let logit = |c: usize| {
            let bonus = if c == favourite { 2.5 + 2.0 * noise(seed, i, 8) } else { 0.0 };
            (noise(seed, 100 * i + c, 9) + bonus) as f32
        };
        let alpha: Vec<f32> = (0..candidates.len()).map(logit).collect();
        let best = (0..alpha.len()).max_by(|&a, &b| alpha[a].total_cmp(&alpha[b])).unwrap_or(0);
        LayerChoice { name: name.clone(), candidate: candidates[best], alpha }
    };
    Architecture {
        format: Architecture::FORMAT,
        kernel_sizes: kernel_sizes.to_vec(),
        dilations: dilations.to_vec(),
        layers: names.iter().enumerate().map(layer).collect(),
    }
}

struct Shape {
    pipeline: &'static str,
    task: &'static str,
    metric: &'static str,
    layers: Vec<String>,
    kernel_sizes: Vec<usize>,
    level: f64,
    params: usize,
}

fn shapes() -> [Shape; 2] {
    let mut wrn = vec!["conv1".to_owned()];
    for group in 1..=3 {
        for block in 0..2 {
            wrn.extend([1, 2].map(|conv| format!("block{group}.layer.{block}.conv{conv}")));
        }
    }
    let resnet1d = (1..=3).flat_map(|b| (1..=3).map(move |c| format!("blocks.{b}.conv{c}"))).collect();
    [
        Shape {
            pipeline: "synthetic-quickstart",
            task: "darcy-flow",
            metric: "relative-l2",
            layers: wrn,
            kernel_sizes: vec![3, 5, 7, 9],
            level: 0.05,
            params: 2_748_890,
        },
        Shape {
            pipeline: "synthetic-ecg",
            task: "ecg",
            metric: "1-macro-f1",
            layers: resnet1d,
            kernel_sizes: vec![3, 7, 11, 15, 19],
            level: 0.32,
            params: 506_500,
        },
    ]
}

fn input() -> ReportInput {
    let mut input = ReportInput {
        name: "Synthetic example".to_owned(),
        generated: "2026-01-01 12:00:00 UTC".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        notes: vec!["Synthetic values: nothing on this page was measured.".to_owned()],
        ..ReportInput::default()
    };
    for shape in shapes() {
        for method in [Method::Dash, Method::Backbone] {
            for seed in 0..3 {
                let searched = method == Method::Dash;
                let level = shape.level * if searched { 1.0 } else { 1.22 };
                let run = format!("{}/{seed}", shape.pipeline);
                let longer = 1.0 + 0.1 * noise(seed, 1, 5);
                input.rows.push(ResultRow {
                    pipeline: shape.pipeline.to_owned(),
                    task: shape.task.to_owned(),
                    method,
                    seed,
                    protocol: Protocol::Strict,
                    metric: shape.metric.to_owned(),
                    value: Some(level * (1.0 + 0.08 * (noise(seed, 0, method as u64) - 0.5))),
                    lower_is_better: true,
                    split: "test".to_owned(),
                    primary: true,
                    status: Status::Done,
                    reason: None,
                    params: Some(if searched { shape.params } else { shape.params / 3 }),
                    stage_seconds: StageSeconds {
                        search: searched.then_some(41.2 * longer),
                        tune: Some(22.9 * longer),
                        retrain: Some(if searched { 58.4 } else { 37.0 } * longer),
                    },
                    run: run.clone(),
                    dataset: None,
                    fingerprint: None,
                    provenance: None,
                });
                input.details.push(RunDetail {
                    pipeline: shape.pipeline.to_owned(),
                    task: shape.task.to_owned(),
                    method,
                    seed,
                    architecture: searched
                        .then(|| architecture(seed, &shape.layers, &shape.kernel_sizes, &[1, 3, 7, 15])),
                    hyperparameters: Some(Hyperparameters {
                        learning_rate: 0.1,
                        dropout: if seed == 1 { 0.05 } else { 0.0 },
                        weight_decay: if seed == 2 { 5e-6 } else { 5e-4 },
                        momentum: 0.9,
                    }),
                    search_history: if searched { history(seed, 60, 3.1, 0.4, 20) } else { Vec::new() },
                    retrain_history: history(seed, 100, 2.6, 6.0 * level, 30 + method as u64),
                    run,
                    fingerprint: format!("{:016x}{:016x}", 0x5a17_u64 << 40 | seed, method as u64 + 1),
                    device: "cpu, 2 threads".to_owned(),
                    finished: format!("2026-01-01 11:{:02}:07 UTC", 20 + 3 * seed),
                });
            }
        }
        input.configs.push(PipelineConfig {
            pipeline: shape.pipeline.to_owned(),
            toml: format!(
                "name     = \"{}\"\nseeds    = [0, 1, 2]\nprotocol = \"strict\"\n\n[search]\nkernel_sizes = {:?}\n",
                shape.pipeline, shape.kernel_sizes
            ),
        });
    }
    input
}

#[allow(clippy::disallowed_methods)] // the output of an example is not run state
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: render FOLDER")?;
    for artifact in render(&input())? {
        let path = Path::new(&folder).join(&artifact.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, artifact.bytes)?;
    }
    Ok(())
}
