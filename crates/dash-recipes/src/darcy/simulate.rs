//! Simulates fields on this machine: a Gaussian field cut into two permeabilities, and its pressure.

use super::{field::GaussianField, fields::Fields, solver::Equation};
use crate::Error;
use dash_core::{
    event::{Event, Listener},
    pipeline::DarcySimulation,
    random::{Purpose, stream},
};
use rayon::prelude::*;
use std::sync::Mutex;

/// Training and test fields: `counts` instances of the two seeds, every `subsample`-th grid point.
pub(super) fn run(
    simulation: &DarcySimulation,
    counts: [usize; 2],
    subsample: usize,
    listener: &dyn Listener,
) -> Result<(Fields, Fields), Error> {
    let gaussian = GaussianField::new(simulation.grid, simulation.tau, simulation.alpha);
    let progress = Progress { done: Mutex::new(0), total: counts.iter().sum(), listener };
    let make = |seed, count| fields(simulation, &gaussian, seed, count, subsample, &progress);
    Ok((make(simulation.train_seed, counts[0])?, make(simulation.test_seed, counts[1])?))
}

/// Counts finished instances; events arrive in ascending order from whichever thread.
struct Progress<'a> {
    done: Mutex<usize>,
    total: usize,
    listener: &'a dyn Listener,
}

impl Progress<'_> {
    fn advance(&self) {
        let mut done = self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *done += 1;
        let event = Event::Progress { what: "simulated fields".to_owned(), done: *done, total: self.total };
        self.listener.on(&event);
    }
}

/// Each instance depends on its seed and number only: any thread may compute it.
fn fields(
    simulation: &DarcySimulation,
    gaussian: &GaussianField,
    seed: u64,
    count: usize,
    subsample: usize,
    progress: &Progress<'_>,
) -> Result<Fields, Error> {
    let pairs: Vec<(Vec<f32>, Vec<f32>)> = (0..count)
        .into_par_iter()
        .map(|instance| {
            let (coefficient, pressure) = solve(simulation, gaussian, seed, instance)?;
            progress.advance();
            let keep = |values: &[f64]| thin(values, simulation.grid, subsample);
            Ok((keep(&coefficient), keep(&pressure)))
        })
        // The first failure by number, not by time.
        .collect::<Vec<Result<_, Error>>>()
        .into_iter()
        .collect::<Result<_, Error>>()?;
    let (coefficients, solutions): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    Ok(Fields {
        side: simulation.grid.div_ceil(subsample),
        coefficient: coefficients.concat(),
        solution: solutions.concat(),
    })
}

fn solve(
    simulation: &DarcySimulation,
    gaussian: &GaussianField,
    seed: u64,
    instance: usize,
) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let mut rng = stream(seed, Purpose::Simulation, [instance as u64, 0, 0]);
    let coefficient: Vec<f64> = gaussian
        .draw(&mut rng)
        .into_iter()
        .map(|value| if value >= 0.0 { simulation.high } else { simulation.low })
        .collect();
    let source = vec![1.0; coefficient.len()];
    let most = 1000 + 10 * simulation.grid;
    let solution = Equation::new(simulation.grid, &coefficient).solve(&source, simulation.tolerance, most);
    if solution.residual <= simulation.tolerance {
        Ok((coefficient, solution.values))
    } else {
        Err(Error::NotConverged {
            seed,
            instance,
            residual: solution.residual,
            iterations: solution.iterations,
            tolerance: simulation.tolerance,
        })
    }
}

/// Every `subsample`-th point of both axes.
fn thin(values: &[f64], grid: usize, subsample: usize) -> Vec<f32> {
    let rows = values.chunks_exact(grid).step_by(subsample);
    rows.flat_map(|row| row.iter().step_by(subsample).map(|&value| value as f32)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::event::Silent;

    fn simulation(tolerance: f64) -> DarcySimulation {
        DarcySimulation {
            grid: 21,
            train_seed: 1,
            test_seed: 2,
            tau: 3.0,
            alpha: 2.0,
            high: 12.0,
            low: 3.0,
            tolerance,
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let bits = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (train, test) = pool.install(|| run(&simulation(1e-10), [7, 3], 2, &Silent)).unwrap();
            let all = [train.coefficient, train.solution, test.coefficient, test.solution].concat();
            all.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        let one = bits(1);
        assert_eq!(one.len(), 2 * 10 * 11 * 11);
        assert_eq!(one, bits(3));
    }

    #[test]
    fn fields_hold_two_permeabilities_and_a_pressure_without_boundary_values() {
        let (train, test) = run(&simulation(1e-10), [4, 2], 1, &Silent).unwrap();
        for value in [3.0, 12.0] {
            assert!(train.coefficient.contains(&value));
        }
        assert!(train.coefficient.iter().all(|v| [3.0, 12.0].contains(v)));
        assert_ne!(train.coefficient[..441], test.coefficient[..441]);
        for pressure in train.solution.chunks(441) {
            for (k, &p) in pressure.iter().enumerate() {
                let boundary = [k / 21, k % 21].iter().any(|i| [0, 20].contains(i));
                // Maximum principle: positive inside; bounded by the solution for a = 3, at most
                // 0.0737 / 3.
                assert!(if boundary { p == 0.0 } else { p > 0.0 && p < 0.0737 / 3.0 }, "{p}");
            }
        }
    }

    #[test]
    fn an_unreachable_tolerance_is_an_error() {
        let error = run(&simulation(1e-30), [1, 1], 1, &Silent).unwrap_err();
        assert!(matches!(error, Error::NotConverged { seed: 1, instance: 0, .. }), "{error}");
    }
}
