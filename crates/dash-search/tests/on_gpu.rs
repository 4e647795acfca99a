//! Whole trainings on a GPU, or the emulator, follow those on the CPU.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use dash_cuda::Gpu;
use dash_nn::Backend;
use support::{Case, cases, train};

/// Losses of both agree to what rounding makes of twenty steps.
fn compare(case: &Case, expected: &[f64], backend: &Backend) -> (Vec<f64>, Vec<f32>) {
    let (losses, values) = train(case, backend);
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        let error = (loss - expected).abs() / expected.abs();
        assert!(error < 2e-3, "{}, step {step}: {loss} against {expected}", case.name);
    }
    (losses, values)
}

/// Besides, a second run on a GPU agrees with the first to the bit.
fn compare_twice(case: &Case, expected: &[f64], gpu: &Backend) {
    let (losses, values) = compare(case, expected, gpu);
    let (again, values_again) = train(case, gpu);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses, again, "{}", case.name);
    assert!(bits(&values) == bits(&values_again), "{}: runs differ", case.name);
}

fn losses_on_the_cpu() -> Vec<Vec<f64>> {
    cases().iter().map(|case| train(case, &Backend::cpu()).0).collect()
}

#[test]
fn trainings_on_the_emulator_follow_the_cpu() {
    let emulator = Backend::gpu(Gpu::emulated());
    for (case, expected) in cases().iter().zip(&losses_on_the_cpu()) {
        compare(case, expected, &emulator);
    }
}

#[test]
fn trainings_on_a_gpu_follow_the_cpu() {
    if let Some(gpu) = dash_cuda::gpu_for_test("trainings_on_a_gpu_follow_the_cpu") {
        let gpu = Backend::gpu(gpu);
        cases()
            .iter()
            .zip(&losses_on_the_cpu())
            .for_each(|(case, expected)| compare_twice(case, expected, &gpu));
    }
}
