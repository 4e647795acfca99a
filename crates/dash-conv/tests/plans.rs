//! The cost model chooses the recorded recipes. The bits of results depend on them, also of results that were
//! recorded by earlier versions.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod support;

use dash_conv::{GpuModel, Machine, Plan};
use support::layers_of_networks;

#[test]
fn the_cost_model_chooses_the_recorded_plans() {
    let mut plans = String::new();
    for case in layers_of_networks() {
        let problem = case.problem();
        plans += &format!("{problem}\n");
        for machine in [Machine::CPU, Machine::Gpu(GpuModel::H100), Machine::GENERIC] {
            plans += &format!("    {}\n", Plan::choose(&problem, &machine));
        }
    }
    assert_eq!(plans, include_str!("plans.txt"), "a change of the cost model changes the bits of results");
}
