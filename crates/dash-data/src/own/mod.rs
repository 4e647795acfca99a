//! Your own data: Parquet files or numpy archives of any shape -> a dataset.
//!
//! Nothing is held in memory but a block of rows and a few bytes per sample: which split it belongs
//! to, and its class.

mod form;
mod npz;
mod parquet;
mod plan;
mod scale;
mod table;
#[cfg(test)]
mod tests;

use crate::{
    Error,
    recipe::{About, Ingest, describe},
    table::{Layout, Row, RowTarget},
};
use dash_core::{
    card::{DatasetCard, ElementType, Scaling, Split, Target, TargetKind, TensorField},
    event::{Event, Listener},
    pipeline::{OwnData, Protocol},
};
use dash_store::Staging;
use form::{Form, Forms};
use scale::Codes;
use std::{collections::BTreeMap, path::PathBuf};
use table::{Table, wrong};

pub(crate) use plan::sources;

/// Kinds of files that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Npz,
    Parquet,
}

impl Kind {
    fn recipe(self) -> &'static str {
        match self {
            Kind::Npz => "npz",
            Kind::Parquet => "parquet",
        }
    }

    fn open(self, path: PathBuf) -> Result<Box<dyn Table>, Error> {
        Ok(match self {
            Kind::Npz => Box::new(npz::NpzTable::open(path)?),
            Kind::Parquet => Box::new(parquet::ParquetTable::open(path)?),
        })
    }
}

pub(crate) fn ingest(
    config: &OwnData,
    kind: Kind,
    protocol: Protocol,
    staging: &mut Staging,
    listener: &dyn Listener,
) -> Result<DatasetCard, Error> {
    let mut parts = plan::parts(config, kind)?;
    let forms = Forms::of(config, &mut parts)?;
    let classes = match config.target_kind {
        TargetKind::Class => Some(plan::classes(config, &mut parts)?),
        TargetKind::Labels | TargetKind::Field | TargetKind::Mask => None,
    };
    let target = target(config, &forms, classes.as_ref().map(|c| c.labels.as_slice()), &parts)?;
    let codes = Codes::fit(config, protocol, &mut parts, &forms, listener)?;

    let layout = Layout {
        input: tensor("input", &forms.input),
        target,
        ids: vec!["file", "row"],
        background: None,
        tuning: false,
    };
    let mut writer = Ingest::new(staging, protocol, layout);
    let count = |split| {
        let splits = parts.iter().flat_map(|part| &part.splits);
        splits.filter(|&&row| takes(protocol, split, row)).count()
    };
    let total = Split::ALL.map(count).iter().sum();
    let mut done = 0;
    for split in Split::ALL {
        writer.split(split, |push| {
            let (mut input, mut field, mut labels) = (vec![], vec![], vec![]);
            for (number, part) in parts.iter_mut().enumerate() {
                let (path, name) = (part.table.path().to_owned(), part.target.clone());
                part.visit(
                    &forms,
                    |row| takes(protocol, split, row),
                    |sample| {
                        input.clear();
                        input.extend_from_slice(sample.input);
                        if let Some(code) = &codes.input {
                            code.encode(&mut input);
                        }
                        let target = match (config.target_kind, &classes) {
                            (TargetKind::Labels, _) => {
                                labels.clear();
                                labels.extend(sample.target.iter().map(|&value| u8::from(value != 0.0)));
                                if let Some(value) = sample.target.iter().find(|v| !matches!(v, 0.0 | 1.0)) {
                                    let problem = format!("holds {value}; labels are 0 or 1");
                                    return Err(wrong(&path, &name, sample.row, problem));
                                }
                                RowTarget::Labels(&labels)
                            }
                            (TargetKind::Class, Some(classes)) => {
                                RowTarget::Class(classes.of(number, sample.row))
                            }
                            _ => {
                                field.clear();
                                field.extend_from_slice(sample.target);
                                if let Some(code) = &codes.target {
                                    code.encode(&mut field);
                                }
                                RowTarget::Field(&field)
                            }
                        };
                        for (name, values) in [(&config.input, &input), (&config.target, &field)] {
                            if values.iter().any(|value| !value.is_finite()) {
                                let problem = "is too far from the training samples to be standardised: it becomes \
                                               infinite";
                                return Err(wrong(&path, name, sample.row, problem));
                            }
                        }
                        done += 1;
                        listener.on(&Event::Progress { what: "samples".to_owned(), done, total });
                        let ids = &[number as i64, sample.row as i64];
                        push(Row {
                            input: &input,
                            target,
                            ids,
                            background: 0.0,
                            tuning: sample.split == Split::Train,
                        })
                    },
                )?;
            }
            Ok(())
        })?;
    }
    let mut sources = vec![];
    for path in plan::sources(config)? {
        sources.push(describe(&config.raw, &path)?);
    }
    writer.finish(About {
        recipe: kind.recipe(),
        sources,
        target_scaling: codes.target.as_ref().zip(forms.target.as_ref()).map(|(code, form)| {
            let spread = |constants: &[f64]| -> Vec<f32> {
                let length = form.len() / form.channels().max(1);
                constants.iter().flat_map(|&v| std::iter::repeat_n(v as f32, length)).collect()
            };
            Scaling { mean: spread(&code.mean), scale: spread(&code.scale) }
        }),
        notes: notes(config, &codes),
        licence: config.licence.as_deref().unwrap_or("not stated in the pipeline file"),
    })
}

/// Whether a split of the dataset takes the rows that are assigned to `row`.
fn takes(protocol: Protocol, split: Split, row: Split) -> bool {
    row == split || (protocol, split, row) == (Protocol::Paper, Split::Train, Split::Validation)
}

fn tensor(name: &str, form: &Form) -> TensorField {
    TensorField { column: name.to_owned(), shape: form.shape.clone(), element: ElementType::F32 }
}

fn target(
    config: &OwnData,
    forms: &Forms,
    classes: Option<&[String]>,
    parts: &[plan::Part],
) -> Result<Target, Error> {
    let column = "target".to_owned();
    Ok(match (&forms.target, parts.first()) {
        (Some(form), Some(part)) if config.target_kind == TargetKind::Labels => {
            Target::Labels { column, labels: plan::label_names(config, part, form.len())? }
        }
        (Some(form), _) => Target::Field { tensor: tensor("target", form) },
        (None, _) => Target::Class { column, labels: classes.unwrap_or_default().to_vec() },
    })
}

fn notes(config: &OwnData, codes: &Codes) -> BTreeMap<String, serde_json::Value> {
    let split = match (&config.split, &config.file) {
        (Some(column), _) => serde_json::json!({ "column": column }),
        (None, Some(_)) if !config.has_split_names() => serde_json::json!({
            "validation_fraction": config.validation_fraction,
            "test_fraction": config.test_fraction,
            "seed": config.split_seed,
        }),
        _ => serde_json::json!("as stored"),
    };
    let mut notes: BTreeMap<String, serde_json::Value> = [
        ("input".to_owned(), config.input.clone().into()),
        ("target".to_owned(), config.target.clone().into()),
        ("split".to_owned(), split),
    ]
    .into();
    if let Some(code) = &codes.input {
        notes.insert(
            "input_scaling".to_owned(),
            serde_json::json!({ "mean": code.mean, "scale": code.scale }),
        );
    }
    notes
}
