//! Every algorithm gives the same bits on every instruction set of this machine, forward and all gradients. The instruction
//! set is chosen once per process, so the test starts itself again for each of them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failing helper is a failing test, and reports it by its output"
)]

mod support;

use dash_conv::{Algorithm, InstructionSet, Machine, check_instruction_set, instruction_set, simd::VARIABLE};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use std::process::Command;
use support::{Case, cases, layers_of_networks, run, suits};

const TEST: &str = "every_algorithm_gives_the_same_bits_on_every_instruction_set";

/// The environment variable that is set in the processes that the test starts.
const CHILD: &str = "DASH_NAS_TEST_CHILD";

/// A hash of the bits of some values.
fn digest<'a>(values: impl IntoIterator<Item = &'a f32>) -> u64 {
    let step = |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
    values.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// A line for each case and algorithm.
fn lines() -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let random = (0..96).map(|_| cases().new_tree(&mut runner).unwrap().current());
    let all: Vec<Case> = random.chain(layers_of_networks()).collect();
    let mut lines = Vec::new();
    for (index, case) in all.iter().enumerate() {
        let problem = case.problem();
        for algorithm in
            Algorithm::ON_CPU.into_iter().filter(|&algorithm| suits(algorithm, &problem, &Machine::CPU))
        {
            let got = run(case, Some(algorithm), None);
            let [y, dx, dw, db] = [&got.y, &got.dx, &got.dw, &got.db].map(digest);
            lines.push(format!("bits {index} {algorithm} {problem}: {y:016x} {dx:016x} {dw:016x} {db:016x}"));
        }
    }
    lines
}

#[test]
fn every_algorithm_gives_the_same_bits_on_every_instruction_set() {
    if std::env::var_os(CHILD).is_some() {
        println!("bits of {}", check_instruction_set().unwrap());
        lines().iter().for_each(|line| println!("{line}"));
        return;
    }
    let here = lines();
    assert!(here.len() > 200);
    for set in InstructionSet::available().filter(|&set| set != instruction_set()) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", TEST, "--nocapture"]).env(CHILD, "1").env(VARIABLE, set.name());
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        let mut found = output.lines().filter_map(|line| line.find("bits ").map(|at| &line[at..]));
        assert_eq!(found.next(), Some(format!("bits of {set}").as_str()), "{output}");
        for (found, here) in found.by_ref().zip(&here) {
            assert_eq!(found, here, "{set} and {}", instruction_set());
        }
        assert_eq!(output.matches("bits ").count(), here.len() + 1, "{output}");
    }
}
