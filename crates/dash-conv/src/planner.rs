//! Chooses plans, by a cost model or by measurements, and keeps a log of its choices.

use crate::{Algorithm, ConvProblem, Error, Machine, Plan, autotune::Autotuner, engine::Place};
use candle_core::Device;
use dash_cuda::Gpu;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What a planner chooses by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// A cost model: the same problem gets the same plan, and therefore the same bits, on every machine.
    #[default]
    Model,
    /// Measurements: the most promising plans are timed when a problem is met for the first time, and the fastest is
    /// kept. Plans round differently, so that the last bits of results depend on the machine.
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

/// Chooses how convolutions are computed, and keeps a log of what it chose. Clones share measurements and log, so that
/// equal layers are measured once.
///
/// ```
/// use dash_conv::{Algorithm, ConvOptions, ConvProblem, Planner, Policy, TapSet};
///
/// let taps = TapSet::centred(1, 3, 1)?;
/// let problem = ConvProblem::new(&taps, [2, 4, 1, 30], 4, ConvOptions::default())?;
/// let planner = Planner::new(Policy::Model).among([Algorithm::Gemm, Algorithm::Direct]);
/// assert_ne!(planner.plan(&problem)?.algorithm(), Algorithm::Fft);
/// assert_eq!(planner.choices().len(), 1);
/// # Ok::<(), dash_conv::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Planner {
    policy: Policy,
    /// The algorithms that may be chosen; `None` for all that the device has.
    among: Option<Arc<[Algorithm]>>,
    /// The GPU that computes the convolutions; `None` for the device that their tensors are on.
    gpu: Option<Gpu>,
    measured: Arc<Mutex<Measured>>,
    log: Arc<Mutex<Vec<Choice>>>,
}

/// Choices by measurement, by problem, allowed algorithms and machine.
type Measured = HashMap<(ConvProblem, Vec<Algorithm>, &'static str), Choice>;

/// What a planner chose for one problem.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// The problem.
    pub problem: ConvProblem,
    /// How it is computed.
    pub plan: Plan,
    /// The plans that were timed to the end.
    pub measured: Vec<PlanTiming>,
}

/// A plan with its measured time.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanTiming {
    /// The plan.
    pub plan: Plan,
    /// Seconds of one forward and backward pass.
    pub seconds: f64,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.problem, self.plan)?;
        for (i, PlanTiming { plan, seconds }) in self.measured.iter().enumerate() {
            let before = if i == 0 { "; measured " } else { ", " };
            write!(f, "{before}{} {:.3} ms", plan.recipe(), 1e3 * seconds)?;
        }
        Ok(())
    }
}

/// The most plans of one algorithm that are timed.
const PER_ALGORITHM: usize = 3;

/// A plan that the model expects to take this many times longer than the best is not timed.
const HOPELESS: f64 = 20.0;

/// The most entries of the log: evaluation on batches of many sizes cannot fill the memory.
const LOGGED: usize = 1024;

impl Planner {
    /// A planner without measurements and with an empty log.
    pub fn new(policy: Policy) -> Planner {
        Planner { policy, ..Planner::default() }
    }

    /// The same planner for convolutions that `gpu` computes, a GPU or its emulator; with `None` for those on the CPU.
    pub fn on_gpu(&self, gpu: Option<&Gpu>) -> Planner {
        Planner { gpu: gpu.cloned(), ..self.clone() }
    }

    /// What plans are chosen by.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// A planner of the same policy that chooses among these algorithms only, on the CPU and on GPUs; no algorithm
    /// means no restriction. It shares measurements and log with this one.
    pub fn among(&self, algorithms: impl IntoIterator<Item = Algorithm>) -> Planner {
        let among: Vec<Algorithm> = algorithms.into_iter().collect();
        let among = if among.is_empty() { None } else { Some(among.into()) };
        Planner { among, ..self.clone() }
    }

    /// The same planner, its measurements shared, with an empty log of its own.
    pub fn with_fresh_log(&self) -> Planner {
        Planner { log: Arc::default(), ..self.clone() }
    }

    /// The log: what was chosen so far, in order, each choice once.
    pub fn choices(&self) -> Vec<Choice> {
        lock(&self.log).clone()
    }

    /// How `problem` is computed on the planner's GPU, or on the CPU.
    ///
    /// # Errors
    /// [`Error::Unsuitable`] if no allowed algorithm can compute the problem there.
    pub fn plan(&self, problem: &ConvProblem) -> Result<Plan, Error> {
        let device = self.gpu.as_ref().map_or(Device::Cpu, Gpu::device);
        self.plan_in(problem, self.place(&device))
    }

    /// Where convolutions of tensors on `device` are computed.
    pub(crate) fn place<'a>(&'a self, device: &'a Device) -> Place<'a> {
        Place { gpu: self.gpu.as_ref(), device }
    }

    /// How `problem` is computed in `place`.
    pub(crate) fn plan_in(&self, problem: &ConvProblem, place: Place<'_>) -> Result<Plan, Error> {
        let mut autotuner = Autotuner::new(problem, place);
        // A plan that fails to run is not a candidate.
        let time = |plan: &Plan, limit| autotuner.measure(plan, limit).ok().flatten();
        self.plan_for(problem, &place.machine(), time)
    }

    /// The same for a machine, whose plans `time` measures: it returns the seconds of one pass, if they are below a limit.
    fn plan_for(
        &self,
        problem: &ConvProblem,
        machine: &Machine,
        time: impl FnMut(&Plan, f64) -> Option<f64>,
    ) -> Result<Plan, Error> {
        let among = match machine {
            Machine::Generic(_) => machine.algorithms(),
            _ => self.among.as_deref().unwrap_or(machine.algorithms()),
        };
        let choice = match self.policy {
            Policy::Model => by_model(problem, among, machine)?,
            Policy::Measure => self.by_measurement(problem, among, machine, time)?,
        };
        let plan = choice.plan.clone();
        let mut log = lock(&self.log);
        if log.len() < LOGGED && !log.contains(&choice) {
            log.push(choice);
        }
        Ok(plan)
    }

    /// The fastest plan, timed unless this was done before. No lock is held meanwhile: the algorithms divide their work
    /// among the threads of a pool, any of which may come here. If two threads measure at once, the first result counts
    /// for both.
    fn by_measurement(
        &self,
        problem: &ConvProblem,
        among: &[Algorithm],
        machine: &Machine,
        time: impl FnMut(&Plan, f64) -> Option<f64>,
    ) -> Result<Choice, Error> {
        let key = (problem.clone(), among.to_vec(), machine.name());
        if let Some(known) = lock(&self.measured).get(&key) {
            return Ok(known.clone());
        }
        let choice = fastest(problem, among, machine, time)?;
        Ok(lock(&self.measured).entry(key).or_insert(choice).clone())
    }
}

/// The choice of the cost model.
fn by_model(problem: &ConvProblem, among: &[Algorithm], machine: &Machine) -> Result<Choice, Error> {
    let plan = Plan::choose_among(among, problem, machine)?;
    Ok(Choice { problem: problem.clone(), plan, measured: Vec::new() })
}

/// Times the most promising plans of each algorithm, in the order of the model. If no plan can be timed, the model chooses.
fn fastest(
    problem: &ConvProblem,
    among: &[Algorithm],
    machine: &Machine,
    mut time: impl FnMut(&Plan, f64) -> Option<f64>,
) -> Result<Choice, Error> {
    let by_cost = |a: &Plan, b: &Plan| a.cost().seconds.total_cmp(&b.cost().seconds);
    let mut plans = Vec::new();
    for &algorithm in among {
        let mut candidates = Plan::candidates(algorithm, problem, machine);
        candidates.sort_by(by_cost);
        plans.extend(candidates.into_iter().take(PER_ALGORITHM));
    }
    plans.sort_by(by_cost);
    let expected = plans.first().map_or(0.0, |plan| plan.cost().seconds);
    plans.retain(|plan| plan.cost().seconds <= HOPELESS * expected);
    let mut measured: Vec<PlanTiming> = Vec::new();
    let mut best = f64::INFINITY;
    for plan in plans {
        if let Some(seconds) = time(&plan, best) {
            best = best.min(seconds);
            measured.push(PlanTiming { plan, seconds });
        }
    }
    match measured.iter().find(|timing| timing.seconds == best) {
        Some(PlanTiming { plan, .. }) => {
            Ok(Choice { problem: problem.clone(), plan: plan.clone(), measured })
        }
        None => by_model(problem, among, machine),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values behind these locks are valid at any moment, also after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, machine::GpuModel, testing};

    fn problem(kernel_size: usize, dilation: usize, n: usize) -> ConvProblem {
        let taps = TapSet::centred(1, kernel_size, dilation).unwrap();
        testing::problem(&taps, [2, 3, 3, 3], [1, n], [1, 1])
    }

    fn plan(planner: &Planner, problem: &ConvProblem) -> Plan {
        planner.plan(problem).unwrap()
    }

    #[test]
    fn the_model_is_the_default_and_measures_nothing() {
        let planner = Planner::default();
        let problem = problem(3, 1, 50);
        assert_eq!(plan(&planner, &problem), Plan::choose(&problem, &Machine::CPU));
        let choices = planner.choices();
        assert_eq!((choices.len(), choices[0].measured.len()), (1, 0));
    }

    #[test]
    fn plans_are_measured_once_per_problem_and_the_fastest_is_chosen() {
        let planner = Planner::new(Policy::Measure);
        let first = plan(&planner.clone(), &problem(5, 7, 300));
        assert_eq!(plan(&planner, &problem(5, 7, 300)), first);
        let choices = planner.choices();
        assert_eq!(choices.len(), 1, "equal problems are one");
        let fastest = choices[0].measured.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).unwrap();
        assert_eq!(fastest.plan, first);
        assert!(choices[0].to_string().contains("; measured "), "{}", choices[0]);
        // A fresh log does not forget the measurement.
        let later = planner.with_fresh_log();
        assert!(later.choices().is_empty());
        plan(&later, &problem(5, 7, 300));
        assert_eq!(later.choices(), choices);
    }

    #[test]
    fn tilings_of_one_algorithm_are_measured_against_each_other() {
        let planner = Planner::new(Policy::Measure).among([Algorithm::Fft]);
        let mut timed = Vec::new();
        let chosen = planner.plan_for(&problem(3, 7, 3000), &Machine::CPU, |plan, _| {
            timed.push(plan.clone());
            Some(if timed.len() == 2 { 1.0 } else { 2.0 })
        });
        assert_eq!(timed.len(), PER_ALGORITHM);
        assert!(timed.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(chosen.unwrap(), timed[1]);
    }

    #[test]
    fn a_choice_may_be_restricted() {
        let short = problem(3, 1, 20);
        for policy in [Policy::Model, Policy::Measure] {
            let planner = Planner::new(policy);
            for algorithm in Algorithm::ALL {
                assert_eq!(plan(&planner.among([algorithm]), &short).algorithm(), algorithm);
            }
            let two = [Algorithm::Gemm, Algorithm::Direct];
            assert!(two.contains(&plan(&planner.among(two), &problem(9, 9, 400)).algorithm()));
            assert!(Algorithm::ON_CPU.contains(&plan(&planner.among([]), &short).algorithm()));
            let generic = planner.plan_for(&short, &Machine::GENERIC, |_, _| None).unwrap();
            assert_eq!(generic.algorithm(), Algorithm::Dft);
        }
    }

    #[test]
    fn a_problem_that_no_allowed_algorithm_can_compute_is_an_error() {
        let error = Planner::default().among([Algorithm::Winograd]).plan(&problem(5, 1, 20));
        let text = error.unwrap_err().to_string();
        assert!(text.contains("winograd cannot compute 2 x 3 channels of 20"), "{text}");
        assert!(text.contains("stride 1 and 2 or 3 evenly spaced taps"), "{text}");
    }

    #[test]
    fn plans_for_a_gpu_are_measured_by_the_given_function() {
        let p = problem(9, 7, 400);
        let machine = Machine::Gpu(GpuModel::H100);
        let timed = |planner: &Planner, seconds: &dyn Fn(Algorithm) -> Option<f64>| {
            let mut count = 0;
            let plan = planner.plan_for(&p, &machine, |plan, _| {
                count += 1;
                seconds(plan.algorithm())
            });
            (plan.unwrap().algorithm(), count)
        };
        let chosen = Plan::choose(&p, &machine).algorithm();
        assert_eq!(timed(&Planner::default(), &|_| Some(1.0)), (chosen, 0), "the model measures nothing");
        for slow in [Algorithm::Direct, Algorithm::Fft] {
            let planner = Planner::new(Policy::Measure);
            let seconds = |a| (a != Algorithm::Dft).then_some(if a == slow { 2.0 } else { 1.0 });
            let (fast, count) = timed(&planner, &seconds);
            assert!(fast != slow && fast != Algorithm::Dft && count >= 2);
            assert_eq!(timed(&planner, &|_| None), (fast, 0), "measured once");
        }
        assert_eq!(timed(&Planner::new(Policy::Measure), &|_| None).0, chosen, "nothing can be timed");
    }
}
