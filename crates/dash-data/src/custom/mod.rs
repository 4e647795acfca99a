//! Custom data: makes a dataset of Parquet files or numpy archives of any shape.
//!
//! Memory holds one block of rows and a few bytes per sample: its split and its class.

mod form;
mod npz;
mod parquet;
mod part;
mod plan;
mod scale;
mod table;
#[cfg(test)]
mod tests;

use crate::{
    Error,
    raw::describe_source,
    table::{DatasetRow, RowLayout, RowTarget},
    writer::{CardDetails, Ingest},
};
use dash_core::{
    card::{DatasetCard, ElementType, Scaling, Split, Target, TargetKind, TensorField},
    event::Event,
    pipeline::CustomData,
};
use form::{Form, Forms};
use part::{Part, takes};
use scale::Codes;
use std::collections::BTreeMap;
use table::wrong;

pub use part::CustomFormat;
pub use plan::sources;

/// Makes a dataset of custom data.
///
/// # Errors
/// If a file is missing, damaged, or does not hold what `config` describes; if the dataset cannot be written.
pub fn ingest(config: &CustomData, format: CustomFormat, cx: &mut Ingest<'_>) -> Result<DatasetCard, Error> {
    let (protocol, listener) = (cx.protocol, cx.listener);
    let mut parts = plan::parts(config, format)?;
    let forms = Forms::of(config, &mut parts)?;
    let classes = match config.target_kind {
        TargetKind::Class => Some(plan::classes(config, &mut parts)?),
        TargetKind::Labels | TargetKind::Field | TargetKind::Mask => None,
    };
    let target = target(config, &forms, classes.as_ref().map(|c| c.labels.as_slice()), &parts)?;
    let codes = Codes::fit(config, protocol, &mut parts, &forms, listener)?;

    let layout = RowLayout::new(tensor("input", &forms.input), target, vec!["file", "row"]);
    let mut writer = cx.writer(layout);
    let count = |split| {
        let splits = parts.iter().flat_map(|part| &part.splits);
        splits.filter(|&&row| takes(protocol, split, row)).count()
    };
    let total = Split::ALL.map(count).iter().sum();
    let mut done = 0;
    for split in Split::ALL {
        writer.split::<Error>(split, |push| {
            let (mut input, mut field, mut labels) = (vec![], vec![], vec![]);
            for (number, part) in parts.iter_mut().enumerate() {
                let (path, name) = (part.table.path().to_owned(), part.target.clone());
                forms.visit(
                    part,
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
                        push(DatasetRow {
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
        sources.push(describe_source(&config.raw, &path)?);
    }
    writer.finish(CardDetails {
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

fn tensor(name: &str, form: &Form) -> TensorField {
    TensorField { column: name.to_owned(), shape: form.shape.clone(), element: ElementType::F32 }
}

fn target(
    config: &CustomData,
    forms: &Forms,
    classes: Option<&[String]>,
    parts: &[Part],
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

fn notes(config: &CustomData, codes: &Codes) -> BTreeMap<String, serde_json::Value> {
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
