//! Fields from the benchmark's MATLAB files: `coeff` and `sol`, (samples, r, r).

use super::fields::Fields;
use crate::Error;
use dash_formats::matlab::MatFile;
use std::path::Path;

/// The first `count` samples of `path`, every `subsample`-th grid point on both axes.
/// `keys` are the keys of the pipeline file that ask for `count`.
pub(super) fn read(path: &Path, count: usize, subsample: usize, keys: &'static str) -> Result<Fields, Error> {
    let file = MatFile::open(path)?;
    let shape = shape(path, &file, "coeff")?;
    let other = self::shape(path, &file, "sol")?;
    if shape != other {
        let problem = format!("has shape {other:?}, `coeff` has {shape:?}");
        return Err(Error::field(path, "sol", problem));
    }
    let [available, resolution, _] = shape;
    if available < count {
        return Err(Error::TooFewSamples { path: path.to_owned(), wanted: count, available, keys });
    }
    Ok(Fields {
        side: resolution.div_ceil(subsample),
        coefficient: samples(path, &file, "coeff", count, subsample)?,
        solution: samples(path, &file, "sol", count, subsample)?,
    })
}

fn shape(path: &Path, file: &MatFile, name: &str) -> Result<[usize; 3], Error> {
    match *file.numeric(name)?.dimensions {
        [samples, rows, columns] if rows == columns && rows > 0 => Ok([samples, rows, columns]),
        ref other => Err(Error::field(
            path,
            name,
            format!("has shape {other:?}; (samples, r, r) is expected, with at least two samples"),
        )),
    }
}

/// One sample after the other, last axis fastest. The file has the sample index fastest and is
/// streamed, so that only what is kept is in memory.
fn samples(
    path: &Path,
    file: &MatFile,
    name: &str,
    count: usize,
    subsample: usize,
) -> Result<Vec<f32>, Error> {
    let variable = file.numeric(name)?;
    let resolution = variable.dimensions.last().copied().unwrap_or(1);
    let side = resolution.div_ceil(subsample);
    let mut out = vec![];
    file.visit::<Error>(variable, |piece| {
        if out.is_empty() {
            // Only now is it known that the file has as many numbers as its header says.
            out = vec![0f32; count * side * side];
        }
        let (row, column) = (piece.column % resolution, piece.column / resolution);
        if !row.is_multiple_of(subsample) || !column.is_multiple_of(subsample) {
            return Ok(());
        }
        let point = row / subsample * side + column / subsample;
        for (sample, &value) in (piece.first..count).zip(piece.values) {
            let value = value as f32;
            if !value.is_finite() {
                return Err(Error::field(
                    path,
                    format!("{name}[{sample}, {row}, {column}]"),
                    "the value is not a finite number",
                ));
            }
            if let Some(slot) = out.get_mut(sample * side * side + point) {
                *slot = value;
            }
        }
        Ok(())
    })?;
    Ok(out)
}
