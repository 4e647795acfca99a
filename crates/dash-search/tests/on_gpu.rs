//! Whole trainings on a GPU, or the emulator, follow those on the CPU; one test, because the emulator stands in for the
//! CPU of the whole process.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use candle_core::Device;
use support::{Case, cases, train};

/// Losses of both agree to what rounding makes of twenty steps.
fn compare(case: &Case, expected: &[f64], device: &Device) -> (Vec<f64>, Vec<f32>) {
    let (losses, values) = train(case, device);
    for (step, (loss, expected)) in losses.iter().zip(expected).enumerate() {
        let error = (loss - expected).abs() / expected.abs();
        assert!(error < 2e-3, "{}, step {step}: {loss} against {expected}", case.name);
    }
    (losses, values)
}

/// Besides, a second run on a GPU agrees with the first to the bit.
fn compare_twice(case: &Case, expected: &[f64], gpu: &Device) {
    let (losses, values) = compare(case, expected, gpu);
    let (again, values_again) = train(case, gpu);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses, again, "{}", case.name);
    assert!(bits(&values) == bits(&values_again), "{}: runs differ", case.name);
}

#[test]
fn trainings_on_a_gpu_and_on_its_emulator_follow_the_cpu() {
    let expected: Vec<Vec<f64>> = cases().iter().map(|case| train(case, &Device::Cpu).0).collect();
    if let Some(gpu) = dash_cuda::gpu_for_test("trainings_on_a_card_and_on_its_twin_follow_the_processor") {
        cases().iter().zip(&expected).for_each(|(case, expected)| compare_twice(case, expected, &gpu));
    }
    dash_cuda::emulate_on_cpu(true);
    for (case, expected) in cases().iter().zip(&expected) {
        compare(case, expected, &Device::Cpu);
    }
}
