//! Every algorithm of cards against the naive double-precision definition: by the twin, and on a card if there is one. One
//! test, because the twin stands in for the processor of the whole process.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use candle_core::{DType, Device, Tensor};
use dash_conv::{Algorithm, Plan, Planner, Policy, Problem, TapConv};
use proptest::{prelude::*, test_runner::TestRunner};
use support::{Case, cases, compare, layers_of_networks};

/// The planner's choice, and each algorithm that there are kernels of.
fn on_card(problem: &Problem) -> Vec<Option<Algorithm>> {
    let suitable = |algorithm: &Algorithm| Plan::on_card(*algorithm, problem).seconds.is_finite();
    std::iter::once(None).chain(Algorithm::ON_CARD.into_iter().filter(suitable).map(Some)).collect()
}

fn everywhere(case: &Case, card: Option<&Device>) -> Result<(), TestCaseError> {
    let algorithms = on_card(&case.problem());
    prop_assert!(algorithms.len() > 2, "kernels, besides dft");
    on_twin(|| compare(case, &algorithms, &Device::Cpu))?;
    card.map_or(Ok(()), |card| compare(case, &algorithms, card))
}

fn on_twin<T>(compute: impl FnOnce() -> T) -> T {
    dash_kernels::instead_of_the_processor(true);
    let result = compute();
    dash_kernels::instead_of_the_processor(false);
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
    assert!(Algorithm::ON_CARD.contains(&fastest.0) && fastest.0 != Algorithm::Winograd);
}

#[test]
fn every_algorithm_of_cards_equals_the_oracle() {
    let card = dash_kernels::card_for("every_algorithm_of_cards_equals_the_oracle");
    for case in layers_of_networks().iter().filter(|case| case.problem().plane() < 2000) {
        everywhere(case, card.as_ref()).unwrap();
        on_twin(|| measured(case, &Device::Cpu));
        card.iter().for_each(|card| measured(case, card));
    }
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    runner.run(&cases(), |case| everywhere(&case, card.as_ref())).unwrap();
}
