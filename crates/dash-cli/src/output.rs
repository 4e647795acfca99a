//! Prints results on standard output: tables for people, JSON documents for programs.

use crate::{
    args::Format,
    error::Error,
    escape::{self, Json, stderr, stdout},
};
use comfy_table::{CellAlignment, Column, ContentArrangement, presets::UTF8_HORIZONTAL_ONLY};
use dash_bench::{StepTiming, comparison::MixingTiming};
use dash_core::error::Classify;
use dash_pipeline::{
    Planned, RunOutcome, RunStatus, StageStatus, Superseded,
    output::{
        ErrorDocument, ExplainDocument, IngestDocument, PlanDocument, PruneDocument, RunDocument,
        StatusDocument,
    },
};
use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

/// Largest number of missing results that are listed.
const MISSING_LIMIT: usize = 20;

/// Prints results and the pages of reports.
pub(crate) fn outcome(outcome: &RunOutcome, format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return document(&RunDocument::from(outcome));
    }
    let mut out = stdout();
    if !outcome.rows.is_empty() {
        results(outcome)?.print(&mut out)?;
    }
    let missing = outcome.rows.iter().filter_map(|row| Some((row, row.reason.as_ref()?)));
    for (row, reason) in missing.clone().take(MISSING_LIMIT) {
        writeln!(out, "{}, {}: {}: {reason}", row.run, row.method, row.status.name())?;
    }
    let more = missing.count().saturating_sub(MISSING_LIMIT);
    if more > 0 {
        writeln!(out, "and {more} more missing results")?;
    }
    for page in &outcome.reports {
        writeln!(out, "report: {}", page.display())?;
    }
    Ok(())
}

fn results(outcome: &RunOutcome) -> Result<Table, Error> {
    let heads = [
        "pipeline", "method", "metric", "split", "protocol", "seeds", "value", "params", "search", "tune",
        "retrain",
    ];
    let mut table = table(&heads);
    for row in dash_report::summary(&outcome.rows)? {
        table.add_row([
            row.pipeline.clone(),
            row.method.to_string(),
            format!(
                "{} {}",
                row.metric,
                if row.lower_is_better { "(lower is better)" } else { "(higher is better)" }
            ),
            row.split.clone(),
            row.protocol.to_string(),
            match row.missing {
                0 => row.seeds.to_string(),
                missing => format!("{} of {}", row.seeds, row.seeds + missing),
            },
            if row.best { format!("{} *", row.spread()) } else { row.spread() },
            row.params.map_or_else(|| "-".to_owned(), |params| format!("{params:.0}")),
            seconds(row.search_seconds),
            seconds(row.tune_seconds),
            seconds(row.retrain_seconds),
        ]);
    }
    for column in 5..heads.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(table)
}

/// Prints what would be done.
pub(crate) fn plan(planned: &[Planned], format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return document(&PlanDocument::from(planned));
    }
    let mut table = table(&["run", "stage", "action", "reason", "memory"]);
    for p in planned {
        let memory = p.memory.map(about).unwrap_or_default();
        table.add_row([&p.run.to_string(), p.stage.name(), p.action.name(), &p.reason, &memory]);
    }
    Ok(table.print(&mut stdout())?)
}

/// Prints why a stage would run or be reused, with all differences.
pub(crate) fn explanation(planned: &[Planned], format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return document(&ExplainDocument::from(planned));
    }
    let mut out = stdout();
    for p in planned {
        writeln!(out, "{} {}: {} ({})", p.run, p.stage, p.action.name(), p.reason)?;
        for difference in &p.differences {
            writeln!(out, "    {difference}")?;
        }
        if let Some(bytes) = p.memory {
            writeln!(out, "  estimated memory: {}", about(bytes))?;
        }
        for (whose, plan) in [("of the earlier result", &p.plan), ("of the next run", &p.expected_plan)] {
            let Some(plan) = plan else { continue };
            writeln!(out, "  convolutions {whose}, planned by {}:", plan.by)?;
            for convolution in &plan.convolutions {
                writeln!(out, "    {convolution}")?;
            }
        }
    }
    Ok(())
}

/// Prints the folders of datasets.
pub(crate) fn datasets(made: &[PathBuf], format: Format) -> Result<(), Error> {
    match format {
        Format::Human => {
            let mut out = stdout();
            Ok(made.iter().try_for_each(|path| writeln!(out, "dataset: {}", path.display()))?)
        }
        Format::Json => line(&IngestDocument { datasets: made }),
    }
}

/// Prints an effective configuration. Programs receive it unchanged; in a terminal, control characters are escaped.
pub(crate) fn toml(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let text = if out.is_terminal() { escape::lines(text) } else { text.into() };
    Ok(out.write_all(text.as_bytes())?)
}

/// Prints runs, their finished stages, and the processes that work on them.
pub(crate) fn status(runs: &[RunStatus], format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return document(&StatusDocument { runs });
    }
    let mut table = table(&["run", "finished stages", "last", "in progress", "superseded"]);
    for run in runs {
        let name = |s: &StageStatus| match &s.damage {
            Some(_) => format!("{} (damaged)", s.stage),
            None => format!("{} ({})", s.stage, seconds(Some(s.seconds as f64))),
        };
        let progress = run.progress.as_ref().map_or(String::new(), |p| {
            let left = p.left.map_or(String::new(), |left| format!(", {} left", seconds(Some(left))));
            format!("{} {:.0} %{left}; ", p.stage, 100.0 * p.done)
        });
        let holder = (run.holder.as_ref())
            .map(|h| format!("{progress}process {} on {} since {}", h.pid, h.host, h.since));
        table.add_row([
            run.run.to_string(),
            run.stages.iter().map(name).collect::<Vec<_>>().join(", "),
            run.stages.iter().map(|s| s.finished.as_str()).max().unwrap_or_default().to_owned(),
            holder.unwrap_or_default(),
            run.superseded.iter().map(|s| s.stage.as_str()).collect::<Vec<_>>().join(", "),
        ]);
    }
    let mut out = stdout();
    table.print(&mut out)?;
    let kept: usize = runs.iter().map(|run| run.superseded.len()).sum();
    if kept > 0 {
        let results = if kept == 1 { "result" } else { "results" };
        writeln!(
            out,
            "{kept} superseded {results}: a run with the earlier settings restores them, `dash-nas runs prune` \
             removes them"
        )?;
    }
    Ok(())
}

/// Prints superseded results that were removed, or would be.
pub(crate) fn pruned(removed: &[Superseded], dry_run: bool, format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return document(&PruneDocument { dry_run, removed });
    }
    let mut out = stdout();
    for one in removed {
        let verb = if dry_run { "would remove" } else { "removed" };
        writeln!(out, "{verb} {}", one.path.display())?;
    }
    if removed.is_empty() {
        writeln!(out, "there are no superseded results")?;
    }
    Ok(())
}

/// Prints the time of a training step.
pub(crate) fn timing(timing: &StepTiming, format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return line(timing);
    }
    let memory = timing.peak_rss_mib.map_or_else(|| "unknown".into(), |mib| format!("{mib} MiB"));
    let heads =
        ["task", "stage", "method", "samples", "threads", "median", "fastest", "steps", "params", "memory"];
    let mut table = table(&heads);
    table.add_row([
        timing.task.to_owned(),
        timing.stage.to_owned(),
        timing.method.clone(),
        timing.batch.to_string(),
        timing.threads.to_string(),
        format!("{:.2} ms", timing.ms_per_step),
        format!("{:.2} ms", timing.min_ms),
        timing.runs.to_string(),
        timing.params.to_string(),
        memory,
    ]);
    Ok(table.print(&mut stdout())?)
}

/// Prints the time of one method at one point as a line of JSON. For people, the table follows at the end; until then,
/// progress is shown on standard error if it is a terminal.
pub(crate) fn comparison_point(timing: &MixingTiming, format: Format) -> Result<(), Error> {
    if format == Format::Json {
        return line(timing);
    }
    if io::stderr().is_terminal() {
        let MixingTiming { method, candidates, length, ms_per_step, .. } = timing;
        // The comparison continues if progress cannot be shown.
        let _ = writeln!(
            stderr(),
            "{candidates} candidates, length {length}: {method} {ms_per_step:.2} ms per step"
        );
    }
    Ok(())
}

/// Prints the table of a comparison, for people.
pub(crate) fn comparison(timings: &[MixingTiming], format: Format) -> Result<(), Error> {
    let (Format::Human, Some(first)) = (format, timings.first()) else { return Ok(()) };
    let heads = ["axis", "candidates", "length", "method", "median", "fastest", "steps", "epoch"];
    let mut table = table(&heads);
    for timing in timings {
        table.add_row([
            timing.axis.to_owned(),
            timing.candidates.to_string(),
            timing.length.to_string(),
            timing.method.to_owned(),
            format!("{:.2} ms", timing.ms_per_step),
            format!("{:.2} ms", timing.min_ms),
            timing.runs.to_string(),
            seconds(Some(timing.seconds_per_epoch)),
        ]);
    }
    let mut out = stdout();
    table.print(&mut out)?;
    let MixingTiming { batch, threads, grouping, plan, .. } = first;
    let note = format!(
        "batch {batch}, threads {threads}; an epoch is 469 steps. All methods have the same grouping ({grouping}),\n\
         parameters and optimizer. fourier uses Fourier transforms in every mixed operation, the others in none;\n\
         their algorithms are chosen by {plan}.\n"
    );
    Ok(out.write_all(note.as_bytes())?)
}

/// Formats an estimated amount of memory.
fn about(bytes: u64) -> String {
    match bytes >> 20 {
        mib @ 0..1024 => format!("{mib} MiB"),
        mib => format!("{:.1} GiB", mib as f64 / 1024.0),
    }
}

/// Prints on standard error why the program ends: for people a line per problem and per hint, for programs one JSON
/// object.
pub(crate) fn error(error: &Error, format: Format) -> io::Result<()> {
    let mut out = io::stderr().lock();
    if format == Format::Json {
        let mut text = Vec::new();
        serde_json::to_writer(Json(&mut text), &ErrorDocument::from(error as &dyn Classify))?;
        text.push(b'\n');
        return out.write_all(&text);
    }
    let (red, blue, plain) = match out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        true => ("\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let mut text = String::new();
    for line in error.to_string().lines() {
        text += &format!("{red}error:{plain} {}\n", escape::line(line));
    }
    for line in error.hint().iter().flat_map(|hint| hint.lines()) {
        text += &format!("{blue}hint:{plain} {}\n", escape::line(line));
    }
    out.write_all(text.as_bytes())
}

/// A table that escapes its cells.
pub(crate) struct Table(comfy_table::Table);

pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    // Some terminals report a width of 0.
    if table.width().is_some_and(|width| width < 20) {
        table.set_width(80);
    }
    table.set_header(heads.iter().map(|head| escape::line(head)));
    Table(table)
}

impl Table {
    pub(crate) fn add_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.0.add_row(cells.into_iter().map(|cell| escape::line(cell.as_ref()).into_owned()));
    }

    pub(crate) fn column_mut(&mut self, number: usize) -> Option<&mut Column> {
        self.0.column_mut(number)
    }

    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(format!("{}\n", self.0).as_bytes())
    }
}

/// Prints a JSON document.
pub(crate) fn document(value: &impl Serialize) -> Result<(), Error> {
    let mut out = Json(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, value)?;
    Ok(writeln!(out)?)
}

/// Prints a JSON document on one line, so that several documents are JSON lines.
fn line(value: &impl Serialize) -> Result<(), Error> {
    let mut out = Json(io::stdout().lock());
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// Formats a time in seconds, minutes or hours.
pub(crate) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(s) if s < 99.95 => format!("{s:.1} s"),
        Some(s) if s < 5_400.0 => format!("{:.1} min", s / 60.0),
        Some(s) => format!("{:.1} h", s / 3_600.0),
    }
}

/// Formats a number of bytes.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let text = if value < 9.95 && unit > 0 { format!("{value:.1}") } else { format!("{value:.0}") };
    format!("{text} {}", UNITS.get(unit).copied().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1_000, 35_000_000, 999_600_000, 1_600_000_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "35 MB", "1.0 GB", "1.6 GB"]);
    }
}
