//! Measures the algorithms on the layers of the networks of the ten NAS-Bench-360 tasks, and what the
//! cost model chose: a table in Markdown. How far the choice is from the best is the last column.
//!
//! `cargo run --release -p dash-conv --example layers [task ...]`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use candle_core::{DType, Device, Tensor, Var};
use dash_conv::{Algorithm, Plan, TapConv, TapSet};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Name, batch, channels, spatial size, whether maps keep their size, classes.
type Task = (&'static str, usize, usize, &'static [usize], bool, usize);

const TASKS: [Task; 10] = [
    ("cifar100", 16, 3, &[32, 32], false, 100),
    ("spherical", 8, 3, &[60, 60], false, 100),
    ("ninapro", 64, 1, &[16, 52], false, 18),
    ("fsd50k", 4, 1, &[96, 102], false, 200),
    ("darcy-flow", 2, 3, &[85, 85], true, 1),
    ("psicov", 1, 57, &[128, 128], true, 1),
    ("cosmic", 1, 1, &[128, 128], true, 1),
    ("ecg", 128, 1, &[1000], false, 4),
    ("satellite", 256, 1, &[46], false, 24),
    ("deepsea", 16, 4, &[1000], false, 36),
];

/// Algorithms that the cost model puts this far behind its choice are not measured.
const HOPELESS: f64 = 6.0;

/// Channels in and out, stride, size of the map; searched layers and pointwise shortcuts.
struct Layer {
    c_in: usize,
    c_out: usize,
    stride: usize,
    size: Vec<usize>,
    pointwise: bool,
}

/// WRN-16 of a width, or the 1-D ResNet.
fn layers(task: &Task, width: usize) -> Vec<Layer> {
    let &(_, _, channels, size, dense, classes) = task;
    let mut found = Vec::new();
    let mut size = size.to_vec();
    let mut add = |c_in, c_out, stride, size: &[usize], pointwise| {
        found.push(Layer { c_in, c_out, stride, size: size.to_vec(), pointwise });
    };
    if size.len() == 1 {
        let middle = 4usize.pow(classes as u32 / 10 + 1).min(64);
        for (c_in, c_out) in [(channels, middle), (middle, 2 * middle), (2 * middle, 2 * middle)] {
            for unit in 0..3 {
                add(if unit == 0 { c_in } else { c_out }, c_out, 1, &size, false);
            }
            if c_in != c_out {
                add(c_in, c_out, 1, &size, true);
            }
        }
        return found;
    }
    add(channels, 16, 1, &size, false);
    let mut c_in = 16;
    for (group, c_out) in [16 * width, 32 * width, 64 * width].into_iter().enumerate() {
        for block in 0..2 {
            let stride = if group > 0 && block == 0 && !dense { 2 } else { 1 };
            add(c_in, c_out, 1, &size, false);
            add(c_out, c_out, stride, &size, false);
            if stride > 1 || c_in != c_out {
                add(c_in, c_out, stride, &size, true);
            }
            size.iter_mut().for_each(|n| *n = n.div_ceil(stride));
            c_in = c_out;
        }
    }
    found
}

/// Milliseconds of a forward and backward pass: the least of a few.
fn measure(conv: &TapConv, x: &Var, w: &Var, b: &Var) -> Result<f64> {
    let mut best = f64::MAX;
    let mut total = 0.0;
    for runs in 0.. {
        if runs >= 2 && total > 150.0 || runs >= 8 {
            break;
        }
        let start = Instant::now();
        conv.forward(x, w, b)?.sum_all()?.backward()?;
        let ms = 1e3 * start.elapsed().as_secs_f64();
        best = best.min(ms);
        total += ms;
    }
    Ok(best)
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let names = Algorithm::ON_CPU.map(|algorithm| algorithm.to_string()).join(" | ");
    println!("| task | stage | layer | plan | {names} | model: {names} | behind |");
    println!("|---|---|---|---{}|--:|", "|--:".repeat(2 * Algorithm::ON_CPU.len()));
    let mut worst: (f64, String) = (1.0, String::new());
    for task in TASKS.iter().filter(|t| wanted.is_empty() || wanted.iter().any(|w| w == t.0)) {
        let (kernels, dilations): (&[usize], &[usize]) = match task.0 {
            "ninapro" => (&[3, 5, 7], &[1, 3, 7]),
            _ if task.3.len() == 1 => (&[3, 7, 11, 15, 19], &[1, 3, 7, 15]),
            _ => (&[3, 5, 7, 9], &[1, 3, 7, 15]),
        };
        let dims = task.3.len();
        let candidates: Vec<(usize, usize)> =
            dilations.iter().flat_map(|&d| kernels.iter().map(move |&k| (k, d))).collect();
        let sets = candidates.iter().map(|&(k, d)| TapSet::centred(dims, k, d));
        let union = TapSet::union(&sets.collect::<std::result::Result<Vec<_>, _>>()?)?.0;
        for stage in ["search", "spread", "3x1"] {
            let width = if stage == "search" { 1 } else { 4 };
            let mut seen = Vec::new();
            let mut searched = 0;
            for layer in layers(task, width) {
                let Layer { c_in, c_out, stride, ref size, pointwise } = layer;
                let kernel = if pointwise {
                    (1, 1)
                } else if stage == "spread" {
                    candidates[5 * searched % candidates.len()]
                } else {
                    (3, 1)
                };
                searched += usize::from(!pointwise);
                let mixed = stage == "search" && !pointwise;
                let taps = if mixed { union.clone() } else { TapSet::centred(dims, kernel.0, kernel.1)? };
                let groups = if mixed && c_in == c_out { c_in } else { 1 };
                let shape = [&[task.1, c_in], size.as_slice()].concat();
                let what = if mixed { "mixture".to_owned() } else { format!("{} by {}", kernel.0, kernel.1) };
                let name = format!(
                    "{what}, {c_in} to {c_out}{}{}, {size:?}",
                    if groups > 1 { " depthwise" } else { "" },
                    if stride > 1 { ", stride 2" } else { "" },
                );
                if seen.contains(&name) {
                    continue;
                }
                seen.push(name.clone());
                let var = |shape: &[usize]| Var::from_tensor(&Tensor::randn(0f32, 1.0, shape, &Device::Cpu)?);
                let (x, w) = (var(&shape)?, var(&[c_out, c_in / groups, taps.len()])?);
                let b = Var::zeros(c_out, DType::F32, &Device::Cpu)?;
                let conv = || TapConv::new(taps.clone(), groups, stride);
                let problem = conv()?.problem(&shape, w.dims())?;
                let chosen = Plan::choose(&problem);
                let models = Algorithm::ON_CPU.map(|a| Plan::with(a, &problem).seconds);
                let mut times = [f64::NAN; Algorithm::ON_CPU.len()];
                for ((time, algorithm), model) in times.iter_mut().zip(Algorithm::ON_CPU).zip(models) {
                    if model < HOPELESS * chosen.seconds {
                        *time = measure(&conv()?.with_algorithm(algorithm), &x, &w, &b)?;
                    }
                }
                let best = times.iter().copied().fold(f64::MAX, f64::min);
                let of_choice = Algorithm::ON_CPU.iter().position(|&a| a == chosen.algorithm);
                let behind = of_choice.map_or(f64::NAN, |i| times[i]) / best;
                let cell = |ms: f64| if ms.is_finite() { format!("{ms:.2}") } else { "-".to_owned() };
                let cells: Vec<String> =
                    times.into_iter().chain(models.map(|model| 1e3 * model)).map(cell).collect();
                println!(
                    "| {} | {stage} | {name} | {chosen} | {} | {behind:.2} |",
                    task.0,
                    cells.join(" | ")
                );
                if behind > worst.0 {
                    worst = (behind, format!("{}, {stage}, {name}", task.0));
                }
            }
        }
    }
    eprintln!("the choice is at most {:.2} times as slow as the best algorithm: {}", worst.0, worst.1);
    Ok(())
}
