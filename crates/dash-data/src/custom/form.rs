//! Converts rows from the shapes of files to those that networks see: channels first.

use super::{
    part::{Part, Sample},
    table::wrong,
};
use crate::Error;
use dash_core::{
    card::{Split, TargetKind},
    pipeline::{Channels, CustomData},
};

/// How the numbers of a row become a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Channels, then spatial axes.
    pub(super) shape: Vec<usize>,
    /// Whether the file has the channels last.
    last: bool,
}

impl Form {
    /// Numbers in a row.
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn channels(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Brings one row into the order of the shape.
    pub(super) fn arrange(&self, row: &[f32], out: &mut Vec<f32>) {
        out.clear();
        if self.last && self.channels() > 1 {
            for channel in 0..self.channels() {
                out.extend(row.iter().skip(channel).step_by(self.channels()));
            }
        } else {
            out.extend_from_slice(row);
        }
    }
}

const NO_MASKS: &str = "masks are not supported for custom data; use a field of 0 and 1";

/// Forms of inputs and targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forms {
    pub(super) input: Form,
    /// None for classes.
    pub(super) target: Option<Form>,
}

impl Forms {
    /// The forms of all parts, which must be the same.
    pub(super) fn of(config: &CustomData, parts: &mut [Part]) -> Result<Forms, Error> {
        let mut found: Option<Forms> = None;
        for part in parts {
            let forms = Forms {
                input: input(config, part)?,
                target: match config.target_kind {
                    TargetKind::Class => None,
                    TargetKind::Labels => Some(labels(part)?),
                    TargetKind::Field => Some(field(config, part)?),
                    TargetKind::Mask => {
                        return Err(Error::configuration("dataset.target_kind", NO_MASKS));
                    }
                },
            };
            match &found {
                None => found = Some(forms),
                Some(first) if *first == forms => {}
                Some(first) => {
                    let (name, here, there) = match first.input == forms.input {
                        false => (&part.input, Some(forms.input), Some(&first.input)),
                        true => (&part.target, forms.target, first.target.as_ref()),
                    };
                    let shape = |form: Option<&Form>| form.map(|f| f.shape.clone()).unwrap_or_default();
                    let problem = format!(
                        "rows have shape {:?}, those of the first file {:?}",
                        shape(here.as_ref()),
                        shape(there)
                    );
                    return Err(Error::field(part.table.path(), name, problem));
                }
            }
        }
        found.ok_or_else(|| Error::configuration("dataset", "no file is given"))
    }
}

/// The shape in the file, or the one that the pipeline file gives if it has as many numbers.
fn stored(part: &mut Part, name: &str, key: &str, given: Option<&Vec<usize>>) -> Result<Vec<usize>, Error> {
    let found = part.table.shape(name)?;
    let elements = found.iter().product::<usize>();
    match given {
        None => Ok(found),
        Some(shape) if shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis)) == Some(elements) => {
            Ok(shape.clone())
        }
        Some(shape) => {
            let problem = format!(
                "rows of shape {found:?} have {elements} numbers, which do not fill {key} = {shape:?}"
            );
            Err(Error::field(part.table.path(), name, problem))
        }
    }
}

fn input(config: &CustomData, part: &mut Part) -> Result<Form, Error> {
    let name = part.input.clone();
    let stored = stored(part, &name, "dataset.input_shape", config.input_shape.as_ref())?;
    let shape = config.input_shape_of(&stored).ok_or_else(|| {
        let problem = format!(
            "rows of shape {stored:?} are not channels and one or two axes; dataset.channels says where the \
             channels are, dataset.input_shape can give another shape"
        );
        Error::field(part.table.path(), &name, problem)
    })?;
    Ok(Form { shape, last: config.channels == Channels::Last })
}

fn labels(part: &mut Part) -> Result<Form, Error> {
    let name = part.target.clone();
    let shape = part.table.shape(&name)?;
    if shape.len() != 1 {
        let problem = format!("rows have shape {shape:?}; a list of labels is expected");
        return Err(Error::field(part.table.path(), &name, problem));
    }
    Ok(Form { shape, last: false })
}

/// A field has the spatial axes of the input, and channels or not.
fn field(config: &CustomData, part: &mut Part) -> Result<Form, Error> {
    let grid = input(config, part)?.shape.get(1..).unwrap_or_default().to_vec();
    let name = part.target.clone();
    let stored = stored(part, &name, "dataset.target_shape", config.target_shape.as_ref())?;
    if stored == grid {
        return Ok(Form { shape: [&[1], &grid[..]].concat(), last: false });
    }
    match (config.channels, stored.as_slice()) {
        (Channels::Last, [axes @ .., channels]) if axes == grid => {
            Ok(Form { shape: [&[*channels], axes].concat(), last: true })
        }
        (Channels::First | Channels::None, [_, axes @ ..]) if axes == grid => {
            Ok(Form { shape: stored, last: false })
        }
        _ => {
            let problem =
                format!("rows of shape {stored:?} are not fields on the grid {grid:?} of `{}`", part.input);
            Err(Error::field(part.table.path(), &name, problem))
        }
    }
}

impl Forms {
    /// Hands out the rows of the wanted splits of a part in the order of its file, channels first.
    pub(super) fn visit(
        &self,
        part: &mut Part,
        wanted: impl Fn(Split) -> bool,
        mut each: impl FnMut(Sample<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !part.splits.iter().any(|&split| wanted(split)) {
            return Ok(());
        }
        let path = part.table.path().to_owned();
        let mut names = vec![part.input.as_str()];
        if self.target.is_some() {
            names.push(&part.target);
        }
        let (mut input, mut target) = (vec![], vec![]);
        let splits = &part.splits;
        part.table.blocks(&names, &mut |first, block| {
            let empty = vec![];
            let mut columns = block.iter();
            let inputs = columns.next().unwrap_or(&empty);
            let targets = columns.next().unwrap_or(&empty);
            let mut targets = targets.chunks_exact(self.target.as_ref().map_or(1, |form| form.len().max(1)));
            let rows = inputs.chunks_exact(self.input.len().max(1));
            for ((row, values), split) in (first..).zip(rows).zip(splits.iter().skip(first)) {
                let goal = targets.next().unwrap_or_default();
                if !wanted(*split) {
                    continue;
                }
                for (name, values) in names.iter().zip([values, goal]) {
                    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                        let value = values.get(at).copied().unwrap_or(f32::NAN);
                        let problem = format!("number {at} of the row is {value}; it must be finite");
                        return Err(wrong(&path, name, row, problem));
                    }
                }
                self.input.arrange(values, &mut input);
                if let Some(form) = &self.target {
                    form.arrange(goal, &mut target);
                }
                each(Sample { row, split: *split, input: &input, target: &target })?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_come_last_are_brought_to_the_front() {
        let mut out = vec![];
        Form { shape: vec![2, 3], last: true }.arrange(&[1., 10., 2., 20., 3., 30.], &mut out);
        assert_eq!(out, [1., 2., 3., 10., 20., 30.]);
        Form { shape: vec![2, 3], last: false }.arrange(&[1., 10., 2., 20., 3., 30.], &mut out);
        assert_eq!(out, [1., 10., 2., 20., 3., 30.]);
    }
}
