//! Every algorithm of GPUs against the naive double-precision definition: by the emulator, and on a GPU if there is one. One
//! test, because the emulator stands in for the CPU of the whole process.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use candle_core::{DType, Device, Tensor};
use dash_conv::{Algorithm, ConvProblem, Plan, Planner, Policy, TapConv};
use proptest::{prelude::*, test_runner::TestRunner};
use support::{Case, cases, compare, layers_of_networks};

/// The planner's choice, and each algorithm that there are kernels of.
fn on_gpu(problem: &ConvProblem) -> Vec<Option<Algorithm>> {
    let suitable = |algorithm: &Algorithm| Plan::on_gpu(*algorithm, problem).seconds.is_finite();
    std::iter::once(None).chain(Algorithm::ON_GPU.into_iter().filter(suitable).map(Some)).collect()
}

fn everywhere(case: &Case, gpu: Option<&Device>) -> Result<(), TestCaseError> {
    let algorithms = on_gpu(&case.problem());
    prop_assert!(algorithms.len() > 2, "kernels, besides dft");
    on_emulator(|| compare(case, &algorithms, &Device::Cpu))?;
    gpu.map_or(Ok(()), |gpu| compare(case, &algorithms, gpu))
}

fn on_emulator<T>(compute: impl FnOnce() -> T) -> T {
    dash_cuda::emulate_on_cpu(true);
    let result = compute();
    dash_cuda::emulate_on_cpu(false);
    result
}

/// A planner that measures times the kernels and keeps what it found.
fn measured(case: &Case, device: &Device) {
    let planner = Planner::new(Policy::Measure);
    let conv = TapConv::new(case.taps.clone(), case.groups, case.stride).unwrap().with_planner(&planner);
    let tensor = |shape: Vec<usize>| Tensor::ones(shape, DType::F32, device).unwrap();
    let bias = tensor(vec![case.problem().c_out]);
    for _ in 0..2 {
        conv.forward(&tensor(case.x_shape()), &tensor(case.weight_shape()), &bias).unwrap();
    }
    let [choice] = planner.choices().try_into().unwrap();
    let fastest = choice.seconds.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(fastest.0, choice.plan.algorithm, "{choice}");
    assert!(Algorithm::ON_GPU.contains(&fastest.0) && fastest.0 != Algorithm::Winograd);
}

#[test]
fn every_algorithm_of_gpus_equals_the_oracle() {
    let gpu = dash_cuda::gpu_for_test("every_algorithm_of_gpus_equals_the_oracle");
    for case in layers_of_networks().iter().filter(|case| case.problem().plane() < 2000) {
        everywhere(case, gpu.as_ref()).unwrap();
        on_emulator(|| measured(case, &Device::Cpu));
        gpu.iter().for_each(|gpu| measured(case, gpu));
    }
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    runner.run(&cases(), |case| everywhere(&case, gpu.as_ref())).unwrap();
}
