//! Runs the commands `dash-nas data list`, `fetch`, `inspect` and `verify`.

use crate::{
    args::{self, Changes, Format},
    documents::{DataListDocument, FetchDocument, InspectDocument, ListedTask, VerifyDocument},
    error::Error,
    escape::stdout,
    files,
    output::{document, size, table},
    progress,
};
use comfy_table::CellAlignment;
use dash_core::{
    card::{DatasetCard, Split, Target},
    event::{Event, Silent},
    pipeline::{Dataset, Pipeline},
    targets::Targets,
};
use dash_data::{Checked, DatasetFolder, Histogram, SplitSummary, TensorSummary};
use dash_recipes::Mirrors;
use dash_report::{
    number,
    samples::{self, Sample, Tensor},
};
use dash_store::RunsRoot;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Lists the tasks of the benchmark, their raw files, and which of these exist.
pub(crate) fn list(args: &args::DataList) -> Result<(), Error> {
    let tasks = dash_recipes::catalogue()?;
    let find = |task| ListedTask::find(task, &args.raw, Dataset::RECIPES.contains(&task.recipe.as_str()));
    let listed = DataListDocument { tasks: tasks.iter().map(find).collect() };
    if args.format == Format::Json {
        return document(&listed);
    }
    let mut table = table(&["recipe", "file", "size", "found", "licence"]);
    for task in &listed.tasks {
        for (number, file) in task.files.iter().enumerate() {
            let first = |text: &str| if number == 0 { text.to_owned() } else { String::new() };
            table.add_row([
                first(&task.name()),
                file.name.to_owned(),
                if file.bytes == 0 { "-".to_owned() } else { size(file.bytes) },
                match &file.present {
                    Some(found) => match found.bytes {
                        Some(bytes) => format!("{}, {}", found.path.display(), size(bytes)),
                        None => found.path.display().to_string(),
                    },
                    None => "-".to_owned(),
                },
                first(task.licence()),
            ]);
        }
    }
    let mut out = stdout();
    table.print(&mut out)?;
    let mut pages: Vec<&str> = tasks.iter().map(|task| task.page.as_str()).collect();
    pages.sort_unstable();
    pages.dedup();
    writeln!(out, "from {}; into {}/<task>", pages.join(", "), args.raw.display())?;
    Ok(writeln!(out, "custom data is read by the recipes parquet and npz: see pipelines/your-own-data.toml")?)
}

/// Downloads or copies raw files into the raw folder.
pub(crate) fn fetch(args: &args::Fetch) -> Result<(), Error> {
    let raw = args.raw.join(&args.task.folder);
    let fetched = match &args.from {
        Some(from) => dash_recipes::import(&args.task, from, &raw, &Silent)?,
        None => {
            let mirrors = args.mirrors.as_deref().map(Mirrors::read).transpose()?.unwrap_or_default();
            dash_recipes::download(&args.task, &mirrors, &raw, progress::downloads(args.quiet).as_ref())?
        }
    };
    if args.format == Format::Json {
        return document(&FetchDocument { licence: &args.task.licence, files: &fetched });
    }
    let mut out = stdout();
    for file in &fetched {
        let origin = match (&file.address, file.copied) {
            (Some(address), _) => format!("fetched from {address}"),
            (None, true) => "copied".to_owned(),
            (None, false) => "found".to_owned(),
        };
        let hash = match (file.published, file.first) {
            (true, _) => "hash as published",
            (false, true) => "hash recorded",
            (false, false) => "hash as recorded",
        };
        writeln!(out, "{}: {origin}, {}, {hash}", file.path.display(), size(file.bytes))?;
    }
    Ok(writeln!(out, "licence: {}", args.task.licence)?)
}

/// The folder of a dataset, which is given as the folder, its dataset card, or a pipeline file, with the pipeline.
fn find(dataset: &Path, changes: &Changes, runs: &Path) -> Result<(PathBuf, Option<Pipeline>), Error> {
    if dataset.is_dir() {
        // The folder of a pipeline's runs holds its dataset.
        let inner = dataset.join("dataset");
        let is_inner = !dataset.join("dataset.json").exists() && inner.join("dataset.json").exists();
        return Ok((if is_inner { inner } else { dataset.to_owned() }, None));
    }
    if dataset.file_name().is_some_and(|name| name == "dataset.json") {
        return Ok((dataset.parent().unwrap_or(Path::new("")).to_owned(), None));
    }
    let pipeline = files::load(dataset, changes)?;
    let folder = RunsRoot::new(runs).dataset(&pipeline.run_name());
    if !folder.join("dataset.json").exists() {
        return Err(Error::NoDataset { folder, file: dataset.to_owned() });
    }
    Ok((folder, Some(pipeline)))
}

/// Shows what a dataset holds: statistics and pictures of samples.
pub(crate) fn inspect(args: &args::Inspect) -> Result<(), Error> {
    let (path, _) = find(&args.dataset, &args.changes, &args.folders.runs_dir)?;
    let folder = DatasetFolder::open(&path)?;
    let splits = args.split.map_or(Split::ALL.to_vec(), |split| vec![split.into()]);
    let mut summaries = vec![];
    for split in splits {
        summaries.push(folder.summary(split, args.bins.get().into())?);
    }
    for message in folder.take_notices() {
        progress::downloads(false).on(&Event::Warning { message });
    }
    if let Some(file) = &args.samples {
        let split = args.split.map_or(Split::Train, Split::from);
        let figure = figure(&folder, split, args.count.get().into(), file)?;
        dash_store::publish_file(file, &figure)?;
    }
    if args.folders.format == Format::Json {
        return document(&InspectDocument::new(&path, folder.card(), &summaries));
    }
    describe(&path, folder.card(), &summaries)?;
    if let Some(file) = &args.samples {
        writeln!(stdout(), "samples: {}", file.display())?;
    }
    Ok(())
}

fn describe(path: &Path, card: &DatasetCard, summaries: &[SplitSummary]) -> Result<(), Error> {
    let mut out = stdout();
    writeln!(out, "{}: recipe {}, {}", path.display(), card.recipe, card.licence)?;
    let target = match &card.target {
        Target::Class { labels, .. } => format!("one of {} classes, int64", labels.len()),
        Target::Labels { labels, .. } => format!("{} labels, uint8", labels.len()),
        Target::Field { tensor } => format!("a field of shape {:?}, float32", tensor.shape),
        Target::Mask { tensor, .. } => format!("a mask of shape {:?}, uint8", tensor.shape),
    };
    let element = card.input.element.name();
    let longest = if card.pairs.is_some() { " (the longest)" } else { "" };
    writeln!(out, "input: shape {:?}{longest}, {element}; target: {target}", card.input.shape)?;
    let mut numbers = table(&["split", "rows", "column", "min", "max", "mean", "std", "histogram"]);
    for summary in summaries {
        for (at, tensor) in summary.tensors.iter().enumerate() {
            let first = |text: String| if at == 0 { text } else { String::new() };
            let mut row = vec![
                first(summary.split.name().to_owned()),
                first(summary.rows.to_string()),
                tensor.column.clone(),
            ];
            let all = &tensor.all;
            row.extend([all.min, all.max, all.mean, all.deviation].map(|v| number::value(v, 4)));
            row.push(bars(&tensor.histogram));
            numbers.add_row(row);
        }
    }
    for column in [1, 3, 4, 5, 6] {
        if let Some(column) = numbers.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    numbers.print(&mut out)?;
    for tensor in summaries.first().map_or(&[][..], |summary| &summary.tensors) {
        channels(&mut out, tensor)?;
    }
    counts(&mut out, summaries)
}

/// Largest number of channels that are described separately in text; JSON has all.
const CHANNELS: usize = 8;
/// Largest number of classes and labels that are listed in text; JSON has all.
const LABELS: usize = 40;

fn channels(out: &mut impl Write, tensor: &TensorSummary) -> Result<(), Error> {
    if !(2..=CHANNELS).contains(&tensor.channels.len()) {
        return Ok(());
    }
    for (number, channel) in tensor.channels.iter().enumerate() {
        let [min, max, mean, deviation] =
            [channel.min, channel.max, channel.mean, channel.deviation].map(|v| number::value(v, 4));
        writeln!(out, "{} channel {number}: {min} to {max}, mean {mean}, std {deviation}", tensor.column)?;
    }
    Ok(())
}

/// Prints the number of samples per class or label and split.
fn counts(out: &mut impl Write, summaries: &[SplitSummary]) -> Result<(), Error> {
    let Some(first) = summaries.first().filter(|summary| !summary.counts.is_empty()) else { return Ok(()) };
    let heads: Vec<&str> = std::iter::once("label").chain(summaries.iter().map(|s| s.split.name())).collect();
    let mut table = table(&heads);
    for (number, count) in first.counts.iter().enumerate().take(LABELS) {
        let samples = summaries.iter().map(|summary| {
            let count = summary.counts.get(number).map_or(0, |count| count.samples);
            format!("{count} ({:.1} %)", 100.0 * count as f64 / summary.rows.max(1) as f64)
        });
        table.add_row(std::iter::once(count.label.clone()).chain(samples));
    }
    table.print(out)?;
    if first.counts.len() > LABELS {
        writeln!(out, "and {} more; --format json lists all", first.counts.len() - LABELS)?;
    }
    Ok(())
}

/// Draws a histogram in one line: the tallest bin is a full block, empty bins are spaces.
fn bars(histogram: &Histogram) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |&count: &u64| match count {
        0 => ' ',
        _ => {
            let height = (count as f64 / most as f64 * BLOCKS.len() as f64).ceil() as usize;
            BLOCKS.get(height.clamp(1, BLOCKS.len()) - 1).copied().unwrap_or(' ')
        }
    };
    histogram.counts.iter().map(bar).collect()
}

/// Draws evenly spaced samples of a split, in the format that the file name asks for.
fn figure(folder: &DatasetFolder, split: Split, count: usize, file: &Path) -> Result<Vec<u8>, Error> {
    let data = folder.split(split)?;
    let card = folder.card();
    let count = count.min(data.len());
    let mut drawn = vec![];
    for number in 0..count {
        let row = number * data.len() / count.max(1);
        let batch = data.gather(&[row])?;
        let side = data.side(row);
        let tensor = |field: &dash_core::card::TensorField, values: Vec<f32>| Tensor {
            name: field.column.clone(),
            shape: match side {
                Some(side) => vec![field.shape.first().copied().unwrap_or(1), side, side],
                None => field.shape.clone(),
            },
            values,
        };
        let mut tensors = vec![tensor(&card.input, batch.input)];
        let mut title = format!("{} row {row}", split.name());
        let names: Vec<&str> = match (batch.target, &card.target) {
            (Targets::Field(values), Target::Field { tensor: field }) => {
                tensors.push(tensor(field, values));
                vec![]
            }
            (Targets::Mask { values, .. }, Target::Mask { tensor: field, .. }) => {
                tensors.push(tensor(field, values.into_iter().map(f32::from).collect()));
                vec![]
            }
            (Targets::Class(classes), Target::Class { labels, .. }) => {
                let class = classes.first().and_then(|&class| usize::try_from(class).ok());
                class.and_then(|class| labels.get(class)).map(String::as_str).into_iter().collect()
            }
            (Targets::Labels(multi_hot), Target::Labels { labels, .. }) => {
                let present = labels.iter().zip(multi_hot).filter(|(_, value)| *value == 1);
                present.map(|(label, _)| label.as_str()).collect()
            }
            _ => vec![],
        };
        if !names.is_empty() {
            title = format!("{title}: {}", names.join(", "));
        }
        drawn.push(Sample { title, tensors });
    }
    if file.extension().is_some_and(|end| end.eq_ignore_ascii_case("png")) {
        let too_many = || Error::TooManySamples { count, file: file.to_owned() };
        return samples::draw_png(&drawn).ok_or_else(too_many);
    }
    let alt = format!("{count} samples of the {} split of {}.", split.name(), card.recipe);
    Ok(samples::draw(&drawn, &alt))
}

/// Compares the files of a dataset with the hashes in its dataset card.
pub(crate) fn verify(args: &args::Verify) -> Result<(), Error> {
    let (path, pipeline) = find(&args.dataset, &args.changes, &args.folders.runs_dir)?;
    let mut checked = dash_data::verify(&path)?;
    if let Some(raw) = pipeline.as_ref().and_then(|pipeline| pipeline.dataset.raw_folder()) {
        checked.extend(dash_data::verify_sources(&dash_data::read_card(&path)?, raw));
    }
    match args.folders.format {
        Format::Json => document(&VerifyDocument { files: &checked })?,
        Format::Human => {
            let mut out = stdout();
            for Checked { path, problem } in &checked {
                let state = if problem.is_some() { "damaged" } else { "intact" };
                writeln!(out, "{}: {state}", path.display())?;
            }
        }
    }
    let damaged: Vec<Checked> = checked.into_iter().filter(|file| file.problem.is_some()).collect();
    if damaged.is_empty() { Ok(()) } else { Err(Error::Damaged { files: damaged }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_a_line_of_blocks() {
        let counts = vec![0, 1, 50, 100];
        assert_eq!(bars(&Histogram { low: 0.0, high: 1.0, counts }), " ▁▄█");
    }
}
