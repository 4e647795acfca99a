//! Every algorithm for GPUs against the naive double-precision definition: by the emulator, and on a GPU if there is one.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use candle_core::{DType, Tensor};
use dash_conv::{Algorithm, ConvProblem, Machine, Planner, Policy};
use dash_cuda::Gpu;
use proptest::{prelude::*, test_runner::TestRunner};
use support::{Case, cases, compare, layers_of_networks, suits};

/// The planner's choice (`None`), and each algorithm that has kernels for the problem.
fn on_gpu(problem: &ConvProblem) -> Vec<Option<Algorithm>> {
    let machine = Machine::gpu(227 << 10);
    let suitable = |&algorithm: &Algorithm| suits(algorithm, problem, &machine);
    std::iter::once(None).chain(Algorithm::ON_GPU.into_iter().filter(suitable).map(Some)).collect()
}

/// A planner that measures chooses the fastest of the plans that it timed.
fn measured(case: &Case, gpu: &Gpu) {
    let planner = Planner::new(Policy::Measure).on_gpu(Some(gpu));
    let conv = case.conv().with_planner(&planner);
    let tensor = |shape: Vec<usize>| Tensor::ones(shape, DType::F32, &gpu.device()).unwrap();
    let bias = tensor(vec![case.problem().c_out()]);
    for _ in 0..2 {
        conv.forward(&tensor(case.x_shape()), &tensor(case.weight_shape()), Some(&bias)).unwrap();
    }
    let [choice] = planner.choices().try_into().unwrap();
    let fastest = choice.measured.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).unwrap();
    assert_eq!(fastest.plan, choice.plan, "{choice}");
    assert!(Algorithm::ON_GPU.contains(&fastest.plan.algorithm()));
}

fn every_algorithm_equals_the_oracle(gpu: &Gpu) {
    let compared = |case: &Case| {
        let algorithms = on_gpu(&case.problem());
        prop_assert!(algorithms.len() > 2, "kernels, besides dft");
        compare(case, &algorithms, Some(gpu))
    };
    for case in layers_of_networks().iter().filter(|case| case.problem().plane() < 2000) {
        compared(case).unwrap();
        measured(case, gpu);
    }
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    runner.run(&cases(), |case| compared(&case)).unwrap();
}

#[test]
fn every_algorithm_equals_the_oracle_on_the_emulator() {
    every_algorithm_equals_the_oracle(&Gpu::emulated());
}

#[test]
fn every_algorithm_equals_the_oracle_on_a_gpu() {
    let gpu = dash_cuda::gpu_for_test("every_algorithm_equals_the_oracle_on_a_gpu");
    gpu.iter().for_each(every_algorithm_equals_the_oracle);
}
