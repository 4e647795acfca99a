//! How many samples of a dataset are gathered per second, in random order, by one thread.
//!
//!     cargo run --release -p dash-data --example loader -- runs/ecg/dataset 1024
//!
//! Compare with the samples per second of a training step (`dash-nas bench --task ecg`): training waits
//! for gathering as long as that takes, in every step.

#![allow(clippy::print_stdout, reason = "an example for the terminal")]

use dash_core::{
    card::Split,
    random::{Purpose, permutation, stream},
};
use dash_data::DatasetFolder;
use std::{error::Error, path::Path, time::Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, batch] = arguments.as_slice() else {
        return Err("two arguments are expected: the folder of a dataset, and the samples per batch".into());
    };
    let batch = batch.parse::<usize>()?.max(1);
    let data = DatasetFolder::open(Path::new(folder))?;
    let train = data.split(Split::Train)?;
    let rows = permutation(&mut stream(0, Purpose::Shuffle, [0, 0, 0]), train.len());
    // Once to bring the file into memory, once more to count.
    let (mut values, mut seconds) = (0usize, 0.0);
    for _ in 0..2 {
        let start = Instant::now();
        values = 0;
        for rows in rows.chunks(batch) {
            values += train.gather(rows)?.input.len();
        }
        seconds = start.elapsed().as_secs_f64();
    }
    println!(
        "{} samples in batches of {batch}: {:.0} samples/s, {:.0} MB/s, {:.3} ms per batch",
        rows.len(),
        rows.len() as f64 / seconds,
        4e-6 * values as f64 / seconds,
        1e3 * seconds * batch as f64 / rows.len().max(1) as f64,
    );
    Ok(())
}
