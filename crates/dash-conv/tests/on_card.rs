//! Every algorithm of cards against the naive double-precision definition: by the twin, and on a card if there is one. One
//! test, because the twin stands in for the processor of the whole process.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use candle_core::Device;
use dash_conv::{Algorithm, Plan, Problem};
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
    dash_kernels::instead_of_the_processor(true);
    let on_twin = compare(case, &algorithms, &Device::Cpu);
    dash_kernels::instead_of_the_processor(false);
    on_twin?;
    card.map_or(Ok(()), |card| compare(case, &algorithms, card))
}

#[test]
fn every_algorithm_of_cards_equals_the_oracle() {
    let card = Device::new_cuda(0).ok();
    if card.is_none() {
        println!("skipped on a card: every_algorithm_of_cards_equals_the_oracle");
    }
    for case in layers_of_networks().iter().filter(|case| case.problem().plane() < 2000) {
        everywhere(case, card.as_ref()).unwrap();
    }
    let mut runner = TestRunner::new(ProptestConfig::with_cases(64));
    runner.run(&cases(), |case| everywhere(&case, card.as_ref())).unwrap();
}
