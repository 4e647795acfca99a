//! Trainings of small networks, search and retraining, give the same bits on every instruction set of this machine. The
//! instruction set is chosen once per process, so the test starts itself again for each of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod support;

use dash_conv::{InstructionSet, check_instruction_set, instruction_set, simd::VARIABLE};
use std::process::Command;
use support::{cases, train};

const TEST: &str = "trainings_give_the_same_bits_on_every_instruction_set";

/// Set in the processes that the test starts.
const CHILD: &str = "DASH_NAS_TEST_CHILD";

/// A line for each training: the bits of its losses, and a digest of the values it ends with.
fn lines() -> Vec<String> {
    let of = |case| {
        let (losses, values) = train(case, &dash_nn::Backend::cpu());
        let step =
            |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
        let digest = values.iter().fold(0xcbf2_9ce4_8422_2325, step);
        let losses: Vec<String> =
            losses.iter().map(|loss| format!("{:08x}", (*loss as f32).to_bits())).collect();
        format!("bits {}: {digest:016x} {}", case.name, losses.join(" "))
    };
    cases().iter().map(of).collect()
}

#[test]
fn trainings_give_the_same_bits_on_every_instruction_set() {
    if std::env::var_os(CHILD).is_some() {
        println!("bits of {}", check_instruction_set().unwrap());
        lines().iter().for_each(|line| println!("{line}"));
        return;
    }
    let here = lines();
    for set in InstructionSet::available().filter(|&set| set != instruction_set()) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", TEST, "--nocapture"]).env(CHILD, "1").env(VARIABLE, set.name());
        let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
        let found: Vec<&str> =
            output.lines().filter_map(|line| line.find("bits ").map(|at| &line[at..])).collect();
        assert_eq!(found.first(), Some(&format!("bits of {set}").as_str()), "{output}");
        assert_eq!(found[1..], here, "{set} and {}", instruction_set());
    }
}
