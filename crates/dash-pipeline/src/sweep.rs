//! The publication's own comparison of speed: three ways to compute the mixtures of one network,
//! over the number of candidates and over the length of the input (DASH, section 12).
//!
//! The network is the 1-D one with 16 channels, ten classes and one input channel, as for MNIST; the
//! data are synthetic. All three ways have the same parameters, coefficients, optimiser and grouping,
//! which the released comparison does not: there the baselines are dense where DASH is depthwise.

use crate::{
    Error,
    timing::{Counts, Expected, Times, normal, time},
};
use candle_core::Device;
use dash_conv::{Planner, Policy};
use dash_core::pipeline::{Backbone, Search};
use dash_nn::{Network, ParamBuilder, Params, build};
use dash_report::chart::{ChartSeries, Panel};
use dash_search::{Gumbel, MixtureBuilder, MixtureStrategy};
use serde::Serialize;
use std::{num::NonZeroUsize, time::Duration};

/// The grouping that all ways share.
pub const GROUPING: &str = "depthwise where c_in == c_out";

/// Batches of the publication's 60 000 images.
const BATCHES: f64 = 469.0;
/// Batch size of the publication.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);
const CLASSES: usize = 10;
const KERNEL_SIZES: [usize; 7] = [3, 5, 7, 9, 11, 13, 15];
const DILATIONS: [usize; 7] = [1, 3, 7, 15, 31, 63, 127];
/// Length of the inputs while the candidates change.
const LENGTH: usize = 1000;
/// Kernel sizes, and dilations, while the length changes.
const SIZES: usize = 5;
const LENGTHS: [usize; 7] = [32, 64, 128, 256, 512, 1024, 2048];
/// Time for the steps of one method at one point, after which no further one is begun.
const LIMIT: Duration = Duration::from_secs(20);

/// A way to compute mixtures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixingMethod {
    /// The mixture over the union of taps by Fourier transforms: what this program is about.
    Fourier,
    /// The candidates aggregated to one tap set, convolved without Fourier transforms.
    MixedWeights,
    /// Every candidate convolved on its own without Fourier transforms, the results added up.
    MixedResults,
}

impl MixingMethod {
    /// All of them, the expected fastest first.
    pub const ALL: [MixingMethod; 3] =
        [MixingMethod::Fourier, MixingMethod::MixedWeights, MixingMethod::MixedResults];

    /// Those that a device has kernels for: on GPUs the candidates' results are not added up.
    pub fn on(device: &Device) -> impl Iterator<Item = MixingMethod> + use<> {
        let is_cpu = device.is_cpu();
        MixingMethod::ALL.into_iter().filter(move |&method| is_cpu || method != MixingMethod::MixedResults)
    }

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            MixingMethod::Fourier => "fourier",
            MixingMethod::MixedWeights => "mixed-weights",
            MixingMethod::MixedResults => "mixed-results",
        }
    }

    fn mixing(self) -> MixtureStrategy {
        match self {
            MixingMethod::Fourier => MixtureStrategy::Fourier,
            MixingMethod::MixedWeights => MixtureStrategy::Weights,
            MixingMethod::MixedResults => MixtureStrategy::Results,
        }
    }
}

/// What changes from point to point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The number of candidates.
    Candidates,
    /// The length of the input.
    Length,
}

impl Axis {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Axis::Candidates => "candidates",
            Axis::Length => "length",
        }
    }
}

/// A point of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The sweep that it belongs to.
    pub sweep: Axis,
    /// Kernel sizes, and dilations: the first ones of the lists.
    sizes: usize,
    /// Length of the input.
    pub length: usize,
}

impl Point {
    /// Number of candidates.
    pub fn candidates(&self) -> usize {
        self.sizes * self.sizes
    }
}

/// The first `limit` points of each sweep, or all.
pub fn points(limit: Option<NonZeroUsize>) -> Vec<Point> {
    let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
    let candidates = (1..=KERNEL_SIZES.len()).map(|sizes| (Axis::Candidates, sizes, LENGTH));
    let lengths = LENGTHS.map(|length| (Axis::Length, SIZES, length));
    let points = candidates.take(limit).chain(lengths.into_iter().take(limit));
    points.map(|(sweep, sizes, length)| Point { sweep, sizes, length }).collect()
}

/// How to time.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Samples per step; by default the publication's 128.
    pub batch: Option<NonZeroUsize>,
    /// Timed steps; fewer where they take too long.
    pub steps: NonZeroUsize,
    /// Steps before them that are not timed; where plans are measured, at least the one that does it.
    pub warmup: usize,
    /// What the algorithms are chosen by, among those that a method allows.
    pub plan: Policy,
}

/// What was measured of one method at one point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SweepTiming {
    /// `fourier`, `mixed-weights` or `mixed-results`.
    pub method: &'static str,
    /// `candidates` or `length`.
    pub sweep: &'static str,
    /// Number of candidates.
    pub candidates: usize,
    /// Length of the input.
    pub length: usize,
    /// Samples per step.
    pub batch: usize,
    /// Threads that computed.
    pub threads: usize,
    /// Median over the timed steps, in milliseconds.
    pub ms_per_step: f64,
    /// The fastest step.
    pub min_ms: f64,
    /// Timed steps; fewer than asked for where they took too long.
    pub runs: usize,
    /// Seconds of an epoch of 469 such steps.
    pub seconds_per_epoch: f64,
    /// Which convolutions are depthwise: the same ones in all methods.
    pub grouping: &'static str,
    /// What the algorithms were chosen by: `model` or `measure`.
    pub plan: String,
}

/// Times whole training steps of `method` at `point` in the calling thread's pool.
///
/// # Errors
/// If the network cannot be built or computed.
pub fn measure(
    point: &Point,
    method: MixingMethod,
    settings: &Settings,
    device: &Device,
) -> Result<SweepTiming, Error> {
    let batch = settings.batch.unwrap_or(BATCH).get();
    let (network, params) = network(point, method, settings.plan, device)?;
    let input = normal(&[batch, 1, point.length], 0, device).map_err(dash_nn::Error::from)?;
    let counts = Counts {
        warmup: settings.warmup.max(usize::from(settings.plan == Policy::Measure)),
        steps: settings.steps.get(),
        limit: Some(LIMIT),
    };
    let times = time(network.as_ref(), &params, &input, &Expected::classes(CLASSES, batch), counts)?;
    let times = Times::new(times);
    Ok(SweepTiming {
        method: method.name(),
        sweep: point.sweep.name(),
        candidates: point.candidates(),
        length: point.length,
        batch,
        threads: rayon::current_num_threads(),
        ms_per_step: times.median,
        min_ms: times.fastest,
        runs: times.runs,
        seconds_per_epoch: BATCHES * times.median / 1e3,
        grouping: GROUPING,
        plan: settings.plan.to_string(),
    })
}

fn network(
    point: &Point,
    method: MixingMethod,
    plan: Policy,
    device: &Device,
) -> Result<(Box<dyn Network>, Params), dash_nn::Error> {
    let first = |all: &[usize]| all.iter().copied().take(point.sizes).collect();
    let space =
        Search { kernel_sizes: first(&KERNEL_SIZES), dilations: first(&DILATIONS), ..Search::default() };
    let mut mixtures = MixtureBuilder::new(&space, Gumbel).mixing(method.mixing());
    let mut params = ParamBuilder::new(0, 0, device).with_planner(&Planner::new(plan));
    let backbone = Backbone::Resnet1d { channels: Some(16), causal: false };
    let network = build(&backbone, &[1, point.length], CLASSES, false, 0.0, &mut mixtures, &mut params)?;
    Ok((network, params.finish()))
}

/// Both sweeps as an SVG file: seconds per epoch, both axes logarithmic.
pub fn plot(timings: &[SweepTiming]) -> Vec<u8> {
    let panel = |sweep: Axis, fixed: String, x: &str, at: fn(&SweepTiming) -> usize| {
        let series = MixingMethod::ALL.map(|method| {
            let own = timings.iter().filter(|t| t.sweep == sweep.name() && t.method == method.name());
            let points = own.map(|t| (at(t) as f64, t.seconds_per_epoch)).collect();
            ChartSeries { label: method.name().to_owned(), points }
        });
        Panel { title: format!("seconds per epoch, {fixed}"), x: x.to_owned(), series: series.to_vec() }
    };
    let settings = timings.first().map_or_else(String::new, |t| {
        format!("batch {}, threads {}, {}, plans by {}", t.batch, t.threads, t.grouping, t.plan)
    });
    let panels = [
        panel(Axis::Candidates, format!("length {LENGTH}"), "candidates", |t| t.candidates),
        panel(Axis::Length, format!("{} candidates", SIZES * SIZES), "length of the input", |t| t.length),
    ];
    let alt = "Time of an epoch over the number of candidates and over the length of the input.";
    dash_report::chart::draw(&panels, &settings, alt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Tensor;
    use dash_nn::{ForwardContext, Gradients};

    #[test]
    fn the_points_are_the_published_ones() {
        let of = |limit| -> Vec<(Axis, usize, usize)> {
            points(limit).iter().map(|p| (p.sweep, p.candidates(), p.length)).collect()
        };
        let (a, b) = (Axis::Candidates, Axis::Length);
        assert_eq!(of(NonZeroUsize::new(2)), [(a, 1, 1000), (a, 4, 1000), (b, 25, 32), (b, 25, 64)]);
        let all = of(None);
        assert_eq!((all.len(), all[6], all[13]), (14, (a, 49, 1000), (b, 25, 2048)));
    }

    /// DASH, section 15.1: MNIST with its own search space has 28 candidates of the same nine layers.
    #[test]
    fn the_network_is_that_of_mnist() {
        let point = Point { sweep: Axis::Candidates, sizes: 4, length: LENGTH };
        let count = |method| network(&point, method, Policy::Model, &Device::Cpu).unwrap().1.count();
        // It has seven dilations instead of these four; each adds 24 taps per channel pair and four
        // architecture parameters in each of nine layers.
        let pairs = 16 + 2 * 16 + 16 * 32 + 5 * 32;
        assert_eq!(count(MixingMethod::Fourier), 122_934 - 3 * (24 * pairs + 4 * 9));
        assert_eq!(count(MixingMethod::MixedResults), count(MixingMethod::Fourier));
    }

    #[test]
    fn the_methods_compute_the_same_function() {
        let point = Point { sweep: Axis::Length, sizes: 3, length: 50 };
        let input = normal(&[3, 1, point.length], 0, &Device::Cpu).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let run = |method| {
            let (network, params) = network(&point, method, Policy::Model, &Device::Cpu).unwrap();
            // Initial weights are so small that biases would drown what they make of the data.
            for p in params.iter().filter(|p| p.name().ends_with(".weights")) {
                p.var().set(&p.var().affine(30.0, 0.0).unwrap()).unwrap();
            }
            let y = network
                .forward(&input, &ForwardContext { training: true, ..ForwardContext::evaluation() })
                .unwrap();
            let gradients = Gradients::of(&y.sqr().unwrap().sum_all().unwrap(), &params).unwrap();
            let all = (0..params.len()).flat_map(|i| flat(gradients.get(i).unwrap()));
            (flat(&y), all.collect::<Vec<f32>>())
        };
        let size = |v: &[f32]| v.iter().fold(0f32, |m, v| m.max(v.abs()));
        let (y, gradients) = run(MixingMethod::Fourier);
        for method in [MixingMethod::MixedWeights, MixingMethod::MixedResults] {
            let (other_y, other) = run(method);
            for (got, expected) in [(&other_y, &y), (&other, &gradients)] {
                let limit = 1e-4 * size(expected);
                let close = got.iter().zip(expected).all(|(g, e)| (g - e).abs() < limit);
                assert!(got.len() == expected.len() && close, "{method:?}");
            }
        }
    }

    #[test]
    fn a_measurement_says_what_it_is_of_and_a_plot_shows_it() {
        let point = points(NonZeroUsize::new(1))[1];
        let one = NonZeroUsize::MIN;
        let settings = Settings { batch: Some(one), steps: one, warmup: 0, plan: Policy::Measure };
        let measured = measure(&point, MixingMethod::MixedWeights, &settings, &Device::Cpu).unwrap();
        assert_eq!((measured.method, measured.sweep), ("mixed-weights", "length"));
        assert_eq!((measured.candidates, measured.length, measured.runs), (25, 32, 1));
        assert!((measured.seconds_per_epoch - 0.469 * measured.ms_per_step).abs() < 1e-9);
        let file = String::from_utf8(plot(&[measured])).unwrap();
        for text in ["mixed-weights", "25 candidates", GROUPING, "plans by measure"] {
            assert!(file.contains(text), "{text} in {file}");
        }
    }
}
