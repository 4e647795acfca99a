//! Tests of the binary: results, reuse, bad input, exit codes, printed texts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod audio;
mod classification;
mod compat;
mod contents;
mod data;
mod dense_prediction;
mod fuzz;
mod instruction_sets;
mod interrupted;
mod pipelines;
mod printed;
mod runs;
mod terminal;
mod timing;

use dash_tests::{Bench, Ran, TINY};

fn bench() -> Bench {
    Bench::new(env!("CARGO_BIN_EXE_dash-nas"))
}

fn tiny() -> Bench {
    let bench = bench();
    bench.write("tiny.toml", TINY.as_bytes());
    bench
}

/// `run stage` of every line on standard error whose text starts with `what`.
fn stages(ran: &Ran, what: &str) -> Vec<String> {
    let lines = ran.stderr.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(_, text)| text.starts_with(what)).map(|(stage, _)| stage.to_owned()).collect()
}

/// A `.npy` file of 32-bit floats or 64-bit integers.
fn npy(descr: &str, shape: &str, elements: Vec<u8>) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [&b"\x93NUMPY\x01\0"[..], &length, header.as_bytes(), &elements].concat()
}
