//! Who decides how convolutions are computed: a cost model, or the clock.

use crate::{
    Algorithm, ConvProblem, Plan,
    op::{Kernel, kernel},
};
use dash_cuda::Gpu;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What a plan is chosen by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The cost model: the same problem gets the same plan, and the same numbers, everywhere.
    #[default]
    Model,
    /// The clock: the algorithms are timed when a problem is met for the first time, and the fastest
    /// is kept. Algorithms round differently, so that the last bits of results depend on the machine.
    Measure,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Model => "model",
            Policy::Measure => "measure",
        })
    }
}

/// Decides how convolutions are computed, and remembers what it decided. Clones share measurements
/// and memory, so that equal layers are measured once.
///
/// ```
/// use dash_conv::{Algorithm, Planner, Policy, ConvProblem, TapSet};
///
/// let taps = TapSet::centred(1, 3, 1)?;
/// let problem = ConvProblem::new(&taps, 2, 4, 4, 1, [1, 30], [1, 1])?;
/// let planner = Planner::new(Policy::Model).among([Algorithm::Gemm, Algorithm::Direct]);
/// assert_ne!(planner.plan(&problem).algorithm, Algorithm::Fft);
/// assert_eq!(planner.choices().len(), 1);
/// # Ok::<(), dash_conv::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Planner {
    policy: Policy,
    /// What may be chosen; `None` for everything that the device offers.
    among: Option<Arc<[Algorithm]>>,
    /// The GPU that computes the convolutions; `None` for the device that their tensors are on.
    gpu: Option<Gpu>,
    measured: Arc<Mutex<Measured>>,
    choices: Arc<Mutex<Vec<Choice>>>,
}

/// What was measured, by problem and by what could be chosen.
type Measured = HashMap<(ConvProblem, Vec<Algorithm>), Choice>;

/// What was decided about one problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The problem.
    pub problem: ConvProblem,
    /// How it is computed.
    pub plan: Plan,
    /// Seconds of one forward and backward pass of each algorithm that was timed to the end.
    pub seconds: Vec<(Algorithm, f64)>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem, self.plan)?;
        for (i, (algorithm, seconds)) in self.seconds.iter().enumerate() {
            let before = if i == 0 { "; measured " } else { ", " };
            write!(f, "{before}{algorithm} {:.3} ms", 1e3 * seconds)?;
        }
        Ok(())
    }
}

/// Timed passes per algorithm, the best of which counts.
const RUNS: usize = 3;

/// An algorithm that the model expects to take this many times longer than the best is not tried.
const HOPELESS: f64 = 20.0;

/// Problems that are remembered for the record; evaluation on odd batches cannot fill the memory.
const REMEMBERED: usize = 1024;

impl Planner {
    /// A planner with an empty memory.
    pub fn new(policy: Policy) -> Planner {
        Planner { policy, ..Planner::default() }
    }

    /// The same planner for convolutions that `gpu` computes, a GPU or its emulator; for the CPU if it is `None`.
    pub fn on_gpu(&self, gpu: Option<&Gpu>) -> Planner {
        Planner { gpu: gpu.cloned(), ..self.clone() }
    }

    /// The GPU that convolutions are planned for.
    pub(crate) fn gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref()
    }

    /// What plans are chosen by.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// A planner of the same policy that chooses among these algorithms only, on any device. Its
    /// choices are remembered here as well.
    pub fn among(&self, algorithms: impl IntoIterator<Item = Algorithm>) -> Planner {
        let among: Vec<Algorithm> = algorithms.into_iter().collect();
        let among = if among.is_empty() { None } else { Some(among.into()) };
        Planner { among, ..self.clone() }
    }

    /// The same planner, its measurements kept, with an empty memory of choices of its own.
    pub fn remembering_anew(&self) -> Planner {
        Planner { choices: Arc::default(), ..self.clone() }
    }

    /// What was decided so far, in order, each problem once.
    pub fn choices(&self) -> Vec<Choice> {
        lock(&self.choices).clone()
    }

    /// How `problem` is computed on the CPU.
    pub fn plan(&self, problem: &ConvProblem) -> Plan {
        self.choose(problem, self.among.as_deref().unwrap_or(&Algorithm::ON_CPU))
    }

    /// How `problem` is computed on a GPU whose blocks may have `shared` bytes of shared memory; a planner that
    /// measures asks `time` for the seconds of a pass of a plan, if there is a kernel for it.
    pub(crate) fn plan_on_gpu(
        &self,
        problem: &ConvProblem,
        shared: usize,
        time: impl FnMut(&Plan) -> Option<f64>,
    ) -> Plan {
        let among = self.among.as_deref().unwrap_or(&Algorithm::ON_GPU);
        let plans = || among.iter().map(|&algorithm| Plan::on_gpu_of(algorithm, problem, shared)).collect();
        let choice = match self.policy {
            Policy::Measure if among.len() > 1 => {
                self.measure(problem, among, || fastest(problem, plans(), time))
            }
            _ => model(problem, plans()),
        };
        self.remember(choice)
    }

    /// How `problem` is computed on devices that are neither the CPU nor a GPU.
    pub(crate) fn plan_elsewhere(&self, problem: &ConvProblem) -> Plan {
        self.remember(model(problem, vec![Plan::with(Algorithm::Dft, problem)]))
    }

    fn choose(&self, problem: &ConvProblem, among: &[Algorithm]) -> Plan {
        let plans = || among.iter().map(|&algorithm| Plan::with(algorithm, problem)).collect();
        let choice = match self.policy {
            Policy::Measure if among.len() > 1 => self.measure(problem, among, || {
                let (mut buffers, mut best) = (Buffers::new(problem), f64::INFINITY);
                fastest(problem, plans(), |plan| {
                    // What cannot be built or is no kernel of the CPU is no candidate.
                    let seconds = buffers.time(kernel(plan.algorithm, problem)?.as_ref(), best)?;
                    best = best.min(seconds);
                    Some(seconds)
                })
            }),
            _ => model(problem, plans()),
        };
        self.remember(choice)
    }

    fn remember(&self, choice: Choice) -> Plan {
        let plan = choice.plan.clone();
        let mut choices = lock(&self.choices);
        if choices.len() < REMEMBERED && !choices.contains(&choice) {
            choices.push(choice);
        }
        plan
    }

    /// The fastest of `among`, timed unless this was done before. No lock is held meanwhile: the
    /// algorithms divide their work among the threads of a pool, any of which may come here. If two
    /// threads measure at once, the first result counts for both.
    fn measure(
        &self,
        problem: &ConvProblem,
        among: &[Algorithm],
        fastest: impl FnOnce() -> Choice,
    ) -> Choice {
        let key = (problem.clone(), among.to_vec());
        if let Some(known) = lock(&self.measured).get(&key) {
            return known.clone();
        }
        let choice = fastest();
        lock(&self.measured).entry(key).or_insert(choice).clone()
    }
}

/// The plan with the least estimated time, the first among equals.
fn model(problem: &ConvProblem, plans: Vec<Plan>) -> Choice {
    let plan = plans.into_iter().reduce(|best, plan| if plan.seconds < best.seconds { plan } else { best });
    let plan = plan.unwrap_or_else(|| Plan::choose(problem));
    Choice { problem: problem.clone(), plan, seconds: Vec::new() }
}

/// Times the plans on random values, the most promising first: one forward and one backward pass as in training, all
/// gradients wanted. If nothing is left, the choice of the model will say what is wrong when it is built.
fn fastest(
    problem: &ConvProblem,
    mut plans: Vec<Plan>,
    mut time: impl FnMut(&Plan) -> Option<f64>,
) -> Choice {
    plans.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let expected = plans.first().map_or(0.0, |plan| plan.seconds);
    let mut best: Option<(Plan, f64)> = None;
    let mut timed = Vec::new();
    for plan in plans.iter().filter(|plan| plan.seconds <= HOPELESS * expected) {
        let Some(seconds) = time(plan) else { continue };
        timed.push((plan.algorithm, seconds));
        if best.as_ref().is_none_or(|(_, least)| seconds < *least) {
            best = Some((plan.clone(), seconds));
        }
    }
    match best {
        Some((plan, _)) => Choice { problem: problem.clone(), plan, seconds: timed },
        None => Choice { seconds: timed, ..model(problem, plans) },
    }
}

/// Values to time an algorithm on.
struct Buffers {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
}

impl Buffers {
    fn new(problem: &ConvProblem) -> Buffers {
        let [x, weights, y] = problem.lens();
        Buffers {
            x: noise(x),
            weights: noise(weights),
            bias: noise(problem.c_out),
            y: vec![0.0; y],
            dx: vec![0.0; x],
            dw: vec![0.0; weights],
        }
    }

    /// Seconds of the best of a few passes; `None` as soon as it is clear that they will not come
    /// below `limit`.
    fn time(&mut self, kernel: &dyn Kernel, limit: f64) -> Option<f64> {
        let mut best: Option<f64> = None;
        for _ in 0..RUNS {
            let start = Instant::now();
            kernel.forward(&self.x, &self.weights, &self.bias, &mut self.y);
            // This is about a third of the work, so that the allowance covers cold caches.
            if best.is_none() && start.elapsed().as_secs_f64() > 1.5 * limit {
                return None;
            }
            // The output serves as its own gradient: any values do.
            kernel.backward(&self.x, &self.weights, &self.y, Some(&mut self.dx), &mut self.dw);
            let seconds = start.elapsed().as_secs_f64();
            best = Some(best.map_or(seconds, |best| best.min(seconds)));
            if seconds > 2.0 * limit {
                break;
            }
        }
        best
    }
}

/// Ordinary numbers between -1 and 1, no two alike nearby; no random stream of a run is touched.
pub(crate) fn noise(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole at any moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TapSet;

    fn problem(kernel_size: usize, dilation: usize, n: usize) -> ConvProblem {
        let taps = TapSet::centred(1, kernel_size, dilation).unwrap();
        ConvProblem::new(&taps, 2, 3, 3, 3, [1, n], [1, 1]).unwrap()
    }

    #[test]
    fn the_model_is_the_default_and_measures_nothing() {
        let planner = Planner::default();
        let plan = planner.plan(&problem(3, 1, 50));
        assert_eq!(plan, Plan::choose(&problem(3, 1, 50)));
        let choices = planner.choices();
        assert_eq!((choices.len(), choices[0].seconds.len()), (1, 0));
    }

    #[test]
    fn the_clock_is_asked_once_per_problem_and_its_answer_is_the_fastest_that_was_timed() {
        let planner = Planner::new(Policy::Measure);
        let first = planner.clone().plan(&problem(5, 7, 300));
        assert_eq!(planner.plan(&problem(5, 7, 300)), first);
        let choices = planner.choices();
        assert_eq!(choices.len(), 1, "equal problems are one");
        let fastest = choices[0].seconds.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert_eq!(fastest.0, first.algorithm);
        assert!(choices[0].to_string().contains("; measured "), "{}", choices[0]);
        // A new memory does not forget the measurement.
        let later = planner.remembering_anew();
        assert!(later.choices().is_empty());
        later.plan(&problem(5, 7, 300));
        assert_eq!(later.choices(), choices);
    }

    #[test]
    fn a_choice_may_be_restricted() {
        for policy in [Policy::Model, Policy::Measure] {
            let planner = Planner::new(policy);
            for algorithm in Algorithm::ALL {
                assert_eq!(planner.among([algorithm]).plan(&problem(3, 1, 20)).algorithm, algorithm);
            }
            let two = [Algorithm::Gemm, Algorithm::Direct];
            assert!(two.contains(&planner.among(two).plan(&problem(9, 9, 400)).algorithm));
            assert!(Algorithm::ON_CPU.contains(&planner.among([]).plan(&problem(3, 1, 20)).algorithm));
        }
        assert_eq!(Planner::default().plan_elsewhere(&problem(3, 1, 20)).algorithm, Algorithm::Dft);
    }

    #[test]
    fn a_gpu_is_timed_by_those_who_can() {
        let p = problem(9, 7, 400);
        let timed = |planner: &Planner, seconds: fn(Algorithm) -> Option<f64>| {
            let mut asked = Vec::new();
            let plan = planner.plan_on_gpu(&p, 227 << 10, |plan| {
                asked.push(plan.algorithm);
                seconds(plan.algorithm)
            });
            (plan.algorithm, asked.len())
        };
        let chosen = Plan::choose_on_gpu(&p, 227 << 10).algorithm;
        assert_eq!(timed(&Planner::default(), |_| Some(1.0)), (chosen, 0), "the model asks nobody");
        for slow in [Algorithm::Direct, Algorithm::Fft] {
            let planner = Planner::new(Policy::Measure);
            let seconds: fn(Algorithm) -> Option<f64> = match slow {
                Algorithm::Direct => {
                    |a| (a != Algorithm::Dft).then_some(if a == Algorithm::Direct { 2.0 } else { 1.0 })
                }
                _ => |a| (a != Algorithm::Dft).then_some(if a == Algorithm::Fft { 2.0 } else { 1.0 }),
            };
            let (fast, asked) = timed(&planner, seconds);
            assert!(fast != slow && fast != Algorithm::Dft && asked >= 2);
            assert_eq!(timed(&planner, |_| None), (fast, 0), "measured once");
        }
        assert_eq!(timed(&Planner::new(Policy::Measure), |_| None).0, chosen, "what cannot be timed");
    }

    #[test]
    fn a_hopeless_algorithm_is_stopped_before_its_backward_pass() {
        struct Slow;
        impl Kernel for Slow {
            fn forward(&self, _: &[f32], _: &[f32], _: &[f32], _: &mut [f32]) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            fn backward(&self, _: &[f32], _: &[f32], _: &[f32], _: Option<&mut [f32]>, _: &mut [f32]) {
                panic!("nobody waits for this");
            }
        }
        assert_eq!(Buffers::new(&problem(3, 1, 20)).time(&Slow, 1e-3), None);
    }
}
