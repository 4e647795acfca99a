//! Runs the speed comparison of the DASH paper (section 12): three ways to compute the mixed operations of one network, over
//! the number of candidates and over the length of the input.
//!
//! The network is the 1-D ResNet with 16 channels, ten classes and one input channel, as for MNIST; the data is
//! synthetic. All three methods have the same parameters, mixing weights, optimizer and grouping. In the comparison of
//! the released code they differ: its baselines are dense where DASH is depthwise.

use crate::{
    Error,
    timing::{StepCounts, SyntheticTarget, TimeSummary, normal, time},
};
use dash_conv::{Planner, Policy};
use dash_core::pipeline::{Backbone, Search};
use dash_nn::{Backend, Network, ParamBuilder, Params, build};
use dash_report::chart::{ChartSeries, Panel};
use dash_search::{Gumbel, MixtureBuilder, MixtureStrategy};
use schemars::JsonSchema;
use serde::Serialize;
use std::{num::NonZeroUsize, time::Duration};

/// The grouping that all methods share.
pub const GROUPING: &str = "depthwise where c_in == c_out";

/// Batches per epoch of the DASH paper's 60 000 images.
const BATCHES: f64 = 469.0;
/// Batch size of the DASH paper.
const BATCH: NonZeroUsize = NonZeroUsize::MIN.saturating_add(127);
const CLASSES: usize = 10;
const KERNEL_SIZES: [usize; 7] = [3, 5, 7, 9, 11, 13, 15];
const DILATIONS: [usize; 7] = [1, 3, 7, 15, 31, 63, 127];
/// Length of the inputs while the number of candidates varies.
const LENGTH: usize = 1000;
/// Number of kernel sizes and of dilations while the length varies.
const SIZES: usize = 5;
const LENGTHS: [usize; 7] = [32, 64, 128, 256, 512, 1024, 2048];
/// Time after which no further step of a method starts at a point.
const LIMIT: Duration = Duration::from_secs(20);

/// A way to compute mixed operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MixingMethod {
    /// DASH: the mixed kernel over the union of taps, convolved by Fourier transforms.
    Fourier,
    /// The mixed kernel over the union of taps, convolved without Fourier transforms.
    MixedWeights,
    /// Each candidate convolved on its own without Fourier transforms, the results summed.
    MixedResults,
}

impl MixingMethod {
    /// All methods, the expected fastest first.
    pub const ALL: [MixingMethod; 3] =
        [MixingMethod::Fourier, MixingMethod::MixedWeights, MixingMethod::MixedResults];

    /// The methods that `backend` supports: GPUs have no kernels for [`MixingMethod::MixedResults`].
    pub fn supported_on(backend: &Backend) -> impl Iterator<Item = MixingMethod> + use<> {
        let is_cpu = backend.gpu().is_none();
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

    fn strategy(self) -> MixtureStrategy {
        match self {
            MixingMethod::Fourier => MixtureStrategy::Fourier,
            MixingMethod::MixedWeights => MixtureStrategy::Weights,
            MixingMethod::MixedResults => MixtureStrategy::Results,
        }
    }
}

/// The quantity that varies along a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonAxis {
    /// The number of candidates.
    Candidates,
    /// The length of the input.
    Length,
}

impl ComparisonAxis {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            ComparisonAxis::Candidates => "candidates",
            ComparisonAxis::Length => "length",
        }
    }
}

/// One configuration of the network at which all methods are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComparisonPoint {
    /// The quantity that varies.
    pub axis: ComparisonAxis,
    /// Number of kernel sizes and of dilations; the first ones of the lists are used.
    sizes: usize,
    /// Length of the input.
    pub length: usize,
}

impl ComparisonPoint {
    /// Number of candidates.
    pub fn candidates(&self) -> usize {
        self.sizes * self.sizes
    }
}

/// The first `limit` points along each axis, or all.
pub fn points(limit: Option<NonZeroUsize>) -> Vec<ComparisonPoint> {
    let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
    let candidates = (1..=KERNEL_SIZES.len()).map(|sizes| (ComparisonAxis::Candidates, sizes, LENGTH));
    let lengths = LENGTHS.map(|length| (ComparisonAxis::Length, SIZES, length));
    let points = candidates.take(limit).chain(lengths.into_iter().take(limit));
    points.map(|(axis, sizes, length)| ComparisonPoint { axis, sizes, length }).collect()
}

/// Options of the comparison.
#[derive(Clone, Copy, Debug)]
pub struct ComparisonOptions {
    /// Samples per step; by default the 128 of the DASH paper.
    pub batch: Option<NonZeroUsize>,
    /// Number of timed steps; fewer where they take too long.
    pub steps: NonZeroUsize,
    /// Number of untimed steps before them. With measured plans there is at least one, which measures.
    pub warmup: usize,
    /// How the algorithms are chosen among those that a method allows.
    pub plan: Policy,
}

/// The time of one method at one point.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct MixingTiming {
    /// `fourier`, `mixed-weights` or `mixed-results`.
    pub method: &'static str,
    /// The quantity that varies: `candidates` or `length`.
    #[serde(rename = "sweep")]
    pub axis: &'static str,
    /// Number of candidates.
    pub candidates: usize,
    /// Length of the input.
    pub length: usize,
    /// Samples per step.
    pub batch: usize,
    /// Number of threads.
    pub threads: usize,
    /// Median time of the timed steps in milliseconds.
    pub ms_per_step: f64,
    /// Time of the fastest step in milliseconds.
    pub min_ms: f64,
    /// Number of timed steps; fewer than requested where they took too long.
    pub runs: usize,
    /// Time of an epoch of 469 such steps in seconds.
    pub seconds_per_epoch: f64,
    /// The convolutions that are depthwise; the same in all methods.
    pub grouping: &'static str,
    /// How the algorithms were chosen: `model` or `measure`.
    pub plan: String,
}

/// Times training steps of `method` at `point`, in the thread pool of the calling thread.
///
/// # Errors
/// If the network cannot be built or computed.
pub fn measure(
    point: &ComparisonPoint,
    method: MixingMethod,
    options: &ComparisonOptions,
    backend: &Backend,
) -> Result<MixingTiming, Error> {
    let batch = options.batch.unwrap_or(BATCH).get();
    let (network, params) = network(point, method, options.plan, backend)?;
    let input = normal(&[batch, 1, point.length], 0, backend.device()).map_err(dash_nn::Error::from)?;
    let counts = StepCounts {
        warmup: options.warmup.max(usize::from(options.plan == Policy::Measure)),
        steps: options.steps.get(),
        limit: Some(LIMIT),
    };
    let times = time(network.as_ref(), &params, &input, &SyntheticTarget::classes(CLASSES, batch), counts)?;
    let times = TimeSummary::new(times);
    Ok(MixingTiming {
        method: method.name(),
        axis: point.axis.name(),
        candidates: point.candidates(),
        length: point.length,
        batch,
        threads: rayon::current_num_threads(),
        ms_per_step: times.median,
        min_ms: times.fastest,
        runs: times.runs,
        seconds_per_epoch: BATCHES * times.median / 1e3,
        grouping: GROUPING,
        plan: options.plan.to_string(),
    })
}

fn network(
    point: &ComparisonPoint,
    method: MixingMethod,
    plan: Policy,
    backend: &Backend,
) -> Result<(Box<dyn Network>, Params), dash_nn::Error> {
    let first = |all: &[usize]| all.iter().copied().take(point.sizes).collect();
    let space =
        Search { kernel_sizes: first(&KERNEL_SIZES), dilations: first(&DILATIONS), ..Search::default() };
    let mut mixtures = MixtureBuilder::new(&space, Gumbel).with_strategy(method.strategy());
    let mut params = ParamBuilder::new(0, 0, backend).with_planner(&Planner::new(plan));
    let backbone = Backbone::Resnet1d { channels: Some(16), causal: false };
    let network = build(&backbone, &[1, point.length], CLASSES, false, 0.0, &mut mixtures, &mut params)?;
    Ok((network, params.finish()))
}

/// Plots the timings as an SVG file: seconds per epoch over each quantity, with logarithmic axes.
pub fn plot(timings: &[MixingTiming]) -> Vec<u8> {
    let panel = |axis: ComparisonAxis, fixed: String, x: &str, at: fn(&MixingTiming) -> usize| {
        let series = MixingMethod::ALL.map(|method| {
            let own = timings.iter().filter(|t| t.axis == axis.name() && t.method == method.name());
            let points = own.map(|t| (at(t) as f64, t.seconds_per_epoch)).collect();
            ChartSeries { label: method.name().to_owned(), points }
        });
        Panel { title: format!("seconds per epoch, {fixed}"), x: x.to_owned(), series: series.to_vec() }
    };
    let settings = timings.first().map_or_else(String::new, |t| {
        format!("batch {}, threads {}, {}, plans by {}", t.batch, t.threads, t.grouping, t.plan)
    });
    let panels = [
        panel(ComparisonAxis::Candidates, format!("length {LENGTH}"), "candidates", |t| t.candidates),
        panel(ComparisonAxis::Length, format!("{} candidates", SIZES * SIZES), "length of the input", |t| {
            t.length
        }),
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
    fn the_points_are_those_of_the_dash_paper() {
        let of = |limit| -> Vec<(ComparisonAxis, usize, usize)> {
            points(limit).iter().map(|p| (p.axis, p.candidates(), p.length)).collect()
        };
        let (a, b) = (ComparisonAxis::Candidates, ComparisonAxis::Length);
        assert_eq!(of(NonZeroUsize::new(2)), [(a, 1, 1000), (a, 4, 1000), (b, 25, 32), (b, 25, 64)]);
        let all = of(None);
        assert_eq!((all.len(), all[6], all[13]), (14, (a, 49, 1000), (b, 25, 2048)));
    }

    /// DASH, section 15.1: MNIST with its own search space has 28 candidates of the same nine layers.
    #[test]
    fn the_network_is_the_one_for_mnist() {
        let point = ComparisonPoint { axis: ComparisonAxis::Candidates, sizes: 4, length: LENGTH };
        let count = |method| network(&point, method, Policy::Model, &Backend::cpu()).unwrap().1.count();
        // MNIST has seven dilations instead of four; each adds 24 taps per channel pair and four architecture
        // parameters in each of nine layers.
        let pairs = 16 + 2 * 16 + 16 * 32 + 5 * 32;
        assert_eq!(count(MixingMethod::Fourier), 122_934 - 3 * (24 * pairs + 4 * 9));
        assert_eq!(count(MixingMethod::MixedResults), count(MixingMethod::Fourier));
    }

    #[test]
    fn the_methods_compute_the_same_function() {
        let point = ComparisonPoint { axis: ComparisonAxis::Length, sizes: 3, length: 50 };
        let input = normal(&[3, 1, point.length], 0, Backend::cpu().device()).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let run = |method| {
            let (network, params) = network(&point, method, Policy::Model, &Backend::cpu()).unwrap();
            // With the small initial weights, biases would hide differences in the convolutions.
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
    fn a_timing_repeats_its_settings_and_the_plot_shows_them() {
        let point = points(NonZeroUsize::new(1))[1];
        let one = NonZeroUsize::MIN;
        let options = ComparisonOptions { batch: Some(one), steps: one, warmup: 0, plan: Policy::Measure };
        let measured = measure(&point, MixingMethod::MixedWeights, &options, &Backend::cpu()).unwrap();
        assert_eq!((measured.method, measured.axis), ("mixed-weights", "length"));
        assert_eq!((measured.candidates, measured.length, measured.runs), (25, 32, 1));
        assert!((measured.seconds_per_epoch - 0.469 * measured.ms_per_step).abs() < 1e-9);
        let file = String::from_utf8(plot(&[measured])).unwrap();
        for text in ["mixed-weights", "25 candidates", GROUPING, "plans by measure"] {
            assert!(file.contains(text), "{text} in {file}");
        }
    }
}
