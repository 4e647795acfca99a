//! Whole trainings on a card, or its twin, follow those on the processor; one test, because the twin stands in for the
//! processor of the whole process.
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

/// Besides, a second run on a card agrees with the first to the bit.
fn compare_twice(case: &Case, expected: &[f64], card: &Device) {
    let (losses, values) = compare(case, expected, card);
    let (again, values_again) = train(case, card);
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses, again, "{}", case.name);
    assert!(bits(&values) == bits(&values_again), "{}: runs differ", case.name);
}

#[test]
fn trainings_on_a_card_and_on_its_twin_follow_the_processor() {
    let expected: Vec<Vec<f64>> = cases().iter().map(|case| train(case, &Device::Cpu).0).collect();
    if let Some(card) = dash_kernels::card_for("trainings_on_a_card_and_on_its_twin_follow_the_processor") {
        cases().iter().zip(&expected).for_each(|(case, expected)| compare_twice(case, expected, &card));
    }
    dash_kernels::instead_of_the_processor(true);
    for (case, expected) in cases().iter().zip(&expected) {
        compare(case, expected, &Device::Cpu);
    }
}
