//! The files of a run are the same on every instruction set of the machine and with any number of threads.

use super::{bench, classification::motifs, tiny};
use dash_conv::InstructionSet;
use dash_tests::Bench;
use std::collections::BTreeMap;

/// Files that hold neither times nor names of machines.
const SAME: [&str; 8] = [
    "architecture.json",
    "hyperparameters.json",
    "trials.parquet",
    "history.parquet",
    "model.json",
    "model.safetensors",
    "metrics.json",
    "train.parquet",
];

/// Runs a pipeline on an instruction set with some threads; the files that do not depend on either.
fn files(
    bench: &Bench,
    file: &str,
    set: InstructionSet,
    threads: &str,
    options: &[&str],
) -> BTreeMap<String, Vec<u8>> {
    let folder = format!("on-{set}-{threads}");
    let run = ["run", file, "--runs-dir", &folder, "--threads", threads];
    bench.run_with(&[&run, options].concat(), &[("DASH_NAS_ISA", set.name())]).well();
    let mut files = bench.files(&folder);
    files.retain(|path, _| SAME.iter().any(|name| path.ends_with(&format!("/{name}"))));
    files
}

/// Compares all instruction sets with the first and one thread.
fn compare(bench: &Bench, file: &str, options: &[&str]) {
    let sets: Vec<InstructionSet> = InstructionSet::available().collect();
    let first = files(bench, file, sets[0], "1", options);
    let names = |name: &str| first.keys().filter(|path| path.ends_with(name)).count();
    assert!(SAME.iter().all(|name| names(name) > 0), "{:?}", first.keys());
    for &set in &sets {
        let found = files(bench, file, set, "2", options);
        assert!(found.keys().eq(first.keys()), "{:?}", found.keys());
        for (path, bytes) in &found {
            assert!(
                *bytes == first[path],
                "{path} differs between {}, 1 thread and {set}, 2 threads",
                sets[0]
            );
        }
    }
}

#[test]
fn a_two_dimensional_run_leaves_the_same_bytes_on_every_instruction_set() {
    compare(&tiny(), "tiny.toml", &["--set", "seeds=[0]"]);
}

#[test]
fn a_one_dimensional_run_leaves_the_same_bytes_on_every_instruction_set() {
    let bench = bench();
    bench.write("motifs.toml", motifs().to_string().as_bytes());
    bench.write("raw/motifs.npz", include_bytes!("../fixtures/motifs.npz"));
    compare(&bench, "motifs.toml", &["--set", "retrain.epochs=2"]);
}

#[test]
fn an_instruction_set_that_does_not_exist_is_refused_before_anything_is_done() {
    let bench = tiny();
    let ran = bench.run_with(&["run", "tiny.toml"], &[("DASH_NAS_ISA", "avx9000")]);
    ran.failed(
        2,
        &["DASH_NAS_ISA is \"avx9000\", which is not the name of an instruction set", "scalar", "hint: "],
    );
    assert!(!bench.path("runs").exists());
}
