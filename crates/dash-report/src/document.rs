//! Builds the content of a report independently of the output format: sections of tables and figures in reading order.

use crate::{
    check,
    figure::{Drawing, curves, pattern, softmax, time},
    input::ReportInput,
    number::{self, MISSING},
    summary::SummaryRow,
    table::{Cell, Table},
    words,
};
use dash_core::{
    architecture::Architecture,
    pipeline::{Method, Protocol},
    provenance::Provenance,
    results::{ResultRow, RunDetail, StageSeconds, Status},
};
use std::collections::{BTreeMap, BTreeSet};

/// Up to this number of comparisons, each gets a sentence; of more, the wins are counted.
const SENTENCES: usize = 3;

/// The whole report.
pub(crate) struct Document<'a> {
    pub(crate) input: &'a ReportInput,
    /// One paragraph on what was run.
    pub(crate) lead: String,
    /// The main results, a sentence each.
    pub(crate) findings: Vec<String>,
    /// One per pipeline and task.
    pub(crate) sections: Vec<Section>,
    /// The names in the tables and their definitions.
    pub(crate) glossary: Vec<(String, String)>,
}

/// The results of one task in one pipeline.
pub(crate) struct Section {
    /// The section's name in links and files.
    pub(crate) slug: String,
    pub(crate) pipeline: String,
    pub(crate) heading: String,
    /// One table per protocol, metric and split: methods with statistics.
    pub(crate) results: Vec<Table>,
    /// The same comparisons with one row per seed.
    pub(crate) seeds: Vec<Table>,
    pub(crate) hyperparameters: Option<Table>,
    pub(crate) pattern: Option<Table>,
    pub(crate) figures: Vec<Figure>,
}

/// What a figure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Pattern,
    Softmax,
    Curves,
    Time,
}

/// A figure with its caption.
pub(crate) struct Figure {
    pub(crate) subject: Subject,
    /// Path below the report's folder.
    pub(crate) file: String,
    pub(crate) caption: String,
    /// Alternative text.
    pub(crate) alt: String,
    pub(crate) drawing: Drawing,
}

/// Arranges a checked input and its summary.
pub(crate) fn build<'a>(input: &'a ReportInput, summary: &[SummaryRow]) -> Document<'a> {
    let mut tasks: Vec<(&str, &str)> = Vec::new();
    for row in summary {
        let task = (row.pipeline.as_str(), row.task.as_str());
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    let headings = Headings::new(&tasks);
    let mut slugs = BTreeSet::new();
    let section = |&(pipeline, task): &(&str, &str)| {
        let slug = slug(pipeline, task, &mut slugs);
        section(input, summary, (pipeline, task), &headings, slug)
    };
    Document {
        input,
        lead: lead(input),
        findings: findings(summary, &headings),
        sections: tasks.iter().map(section).collect(),
        glossary: glossary(&input.rows),
    }
}

/// A name for links and files that no other section has.
fn slug(pipeline: &str, task: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name = if pipeline == task { task.to_owned() } else { format!("{pipeline}-{task}") };
    let name: String = name.chars().take(60).map(plain).collect();
    let name = match name.trim_matches('-') {
        "" => "task",
        name => name,
    };
    let numbered = std::iter::once(name.to_owned()).chain((2u64..).map(|i| format!("{name}-{i}")));
    let free = numbered.into_iter().find(|n| !taken.contains(n)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

fn lead(input: &ReportInput) -> String {
    let set = |of: fn(&ResultRow) -> String| input.rows.iter().map(of).collect::<BTreeSet<_>>();
    let runs: BTreeMap<_, StageSeconds> = (input.rows.iter())
        .filter(|r| r.status == Status::Done)
        .map(|r| (check::run_of_row(r), r.stage_seconds))
        .collect();
    let seconds: f64 = runs.values().map(time::total).sum();
    let seeds: BTreeSet<u64> = input.rows.iter().map(|r| r.seed).collect();
    let methods: BTreeSet<Method> = input.rows.iter().map(|r| r.method).collect();
    let noun = |count: usize, noun: &str| if count == 1 { noun.to_owned() } else { format!("{noun}s") };
    let missing: BTreeSet<_> =
        input.rows.iter().filter(|r| r.status != Status::Done).map(check::run_of_row).collect();
    let missing = match missing.len() {
        0 => String::new(),
        1 => " One result is missing.".to_owned(),
        many => format!(" {many} results are missing."),
    };
    format!(
        "{} on {}: {} {}, {} {}, {} {}. All stages together took {}.{missing}",
        words::plural(runs.len(), "trained network"),
        words::list(set(|r| r.task.clone())),
        noun(methods.len(), "method"),
        words::list(&methods),
        noun(seeds.len(), "seed"),
        words::list(&seeds),
        noun(set(|r| r.protocol.to_string()).len(), "protocol"),
        words::list(set(|r| r.protocol.to_string())),
        number::duration(Some(seconds)),
    )
}

/// The comparisons of a summary, each with its methods.
fn comparisons(summary: &[SummaryRow]) -> impl Iterator<Item = &[SummaryRow]> {
    summary.chunk_by(SummaryRow::comparable)
}

fn findings(summary: &[SummaryRow], headings: &Headings<'_>) -> Vec<String> {
    // Batch averages and values that were selected on test data are not compared.
    let contested: Vec<&[SummaryRow]> =
        comparisons(summary).filter(|rows| rows.iter().any(|r| r.best && r.primary)).collect();
    if contested.len() > SENTENCES {
        let mut wins: BTreeMap<Method, usize> = BTreeMap::new();
        for row in contested.iter().copied().flatten().filter(|r| r.best) {
            *wins.entry(row.method).or_default() += 1;
        }
        let wins = wins.iter().map(|(method, count)| format!("{method} in {count}"));
        return vec![format!(
            "Best mean in {}: {}.",
            words::plural(contested.len(), "comparison"),
            words::list(wins)
        )];
    }
    let sentence = |rows: &&[SummaryRow]| {
        let first = rows.first()?;
        let value =
            |r: &SummaryRow| format!("{} {}{}", r.method, r.spread(), if r.best { " (best)" } else { "" });
        let words = words::list(rows.iter().map(value));
        Some(format!("{}: {words}.", title(first, headings)))
    };
    contested.iter().filter_map(sentence).collect()
}

/// The title of a comparison.
fn title(row: &SummaryRow, headings: &Headings<'_>) -> String {
    let place = headings.of(&row.pipeline, &row.task);
    let direction = words::direction(row.lower_is_better);
    format!("{place}: {} on {} data, {direction}, protocol {}", row.metric, row.split, row.protocol)
}

/// Tasks that occur in more than one pipeline: only their headings need the name of the pipeline.
struct Headings<'a> {
    shared: BTreeSet<&'a str>,
}

impl<'a> Headings<'a> {
    fn new(tasks: &[(&'a str, &'a str)]) -> Self {
        let mut seen = BTreeSet::new();
        Headings { shared: tasks.iter().map(|t| t.1).filter(|task| !seen.insert(*task)).collect() }
    }

    fn of(&self, pipeline: &str, task: &str) -> String {
        if self.shared.contains(task) { format!("{task} (pipeline {pipeline})") } else { task.to_owned() }
    }
}

fn glossary(rows: &[ResultRow]) -> Vec<(String, String)> {
    let protocols: BTreeMap<String, Protocol> =
        rows.iter().map(|r| (r.protocol.to_string(), r.protocol)).collect();
    let methods: BTreeSet<Method> = rows.iter().map(|r| r.method).collect();
    let metrics: BTreeMap<&str, bool> = rows.iter().map(|r| (r.metric.as_str(), r.lower_is_better)).collect();
    let mut glossary = Vec::new();
    for (name, protocol) in protocols {
        glossary.push((format!("Protocol {name}"), protocol.description().to_owned()));
    }
    for (name, lower) in metrics {
        let definition = words::metric(name).map(|d| format!("{d} ")).unwrap_or_default();
        let direction = if lower { "Lower is better." } else { "Higher is better." };
        glossary.push((format!("Metric {name}"), format!("{definition}{direction}")));
    }
    for method in methods {
        glossary.push((format!("Method {method}"), method.description().to_owned()));
    }
    let statistics = "Values are mean ± sample standard deviation (divisor n − 1) over n seeds; a single seed has no \
                      standard deviation. Bold marks the best mean among the methods with the same pipeline, task, \
                      protocol, metric and split. A few seeds indicate how much results vary; they are not a \
                      significance test. A dash means that nothing was measured. If a value is not finite, the mean is \
                      omitted and the caption says so.";
    glossary.push(("Statistics".to_owned(), statistics.to_owned()));
    glossary
}

fn section(
    input: &ReportInput,
    summary: &[SummaryRow],
    (pipeline, task): (&str, &str),
    headings: &Headings<'_>,
    slug: String,
) -> Section {
    let rows: Vec<&ResultRow> =
        input.rows.iter().filter(|r| r.pipeline == pipeline && r.task == task).collect();
    let mut details: Vec<&RunDetail> =
        input.details.iter().filter(|d| d.pipeline == pipeline && d.task == task).collect();
    details.sort_by_key(|d| (d.method, d.seed));
    let here: Vec<&[SummaryRow]> = comparisons(summary)
        .filter(|c| c.first().is_some_and(|r| r.pipeline == pipeline && r.task == task))
        .collect();
    let metrics: BTreeSet<&str> = rows.iter().map(|r| r.metric.as_str()).collect();
    // The history does not name its metric; with one metric there is no doubt.
    let score = match metrics.first() {
        Some(metric) if metrics.len() == 1 => format!("{metric} on the selection split"),
        _ => "metric on the selection split".to_owned(),
    };
    let heading = headings.of(pipeline, task);
    Section {
        pipeline: pipeline.to_owned(),
        results: here.iter().filter_map(|c| results_table(c, headings)).collect(),
        seeds: here.iter().filter_map(|c| seeds_table(c, &rows, &details, headings)).collect(),
        hyperparameters: hyperparameters_table(&details, &heading),
        pattern: pattern_table(&details, &heading),
        figures: figures(&rows, &details, &score, &heading, &slug),
        slug,
        heading,
    }
}

fn results_table(comparison: &[SummaryRow], headings: &Headings<'_>) -> Option<Table> {
    let first = comparison.first()?;
    let arrow = if first.lower_is_better { "↓" } else { "↑" };
    let value = format!(">{} {arrow}", first.metric);
    let titles = ["Method", &value, ">n", ">min", ">max", ">Parameters", ">Search", ">Tuning", ">Retraining"];
    let mut caption =
        format!("{}. Mean ± standard deviation over n seeds; mean wall times.", title(first, headings));
    for row in comparison.iter().filter(|r| r.missing > 0) {
        let all = row.seeds + row.missing;
        caption += &format!(" {}: {} of {all} seeds have no result.", row.method, row.missing);
    }
    for row in comparison.iter().filter(|r| r.not_finite > 0) {
        caption += &format!(" {}: {} of {} values not finite.", row.method, row.not_finite, row.seeds);
    }
    let mut table = Table::new(caption, &titles);
    let digits = |v: Option<f64>| v.map_or(MISSING.to_owned(), |v| number::value(v, 4));
    for row in comparison {
        table.rows.push(vec![
            Cell::strong(row.method.to_string(), row.best),
            Cell::strong(row.spread(), row.best),
            row.seeds.to_string().into(),
            digits(row.min).into(),
            digits(row.max).into(),
            row.params.map_or(MISSING.to_owned(), number::count).into(),
            number::duration(row.search_seconds).into(),
            number::duration(row.tune_seconds).into(),
            number::duration(row.retrain_seconds).into(),
        ]);
    }
    Some(table)
}

fn seeds_table(
    comparison: &[SummaryRow],
    rows: &[&ResultRow],
    details: &[&RunDetail],
    headings: &Headings<'_>,
) -> Option<Table> {
    let first = comparison.first()?;
    let arrow = if first.lower_is_better { "↓" } else { "↑" };
    let value = format!(">{} {arrow}", first.metric);
    let titles = [
        "Method",
        ">Seed",
        &value,
        ">Parameters",
        ">Search",
        ">Tuning",
        ">Retraining",
        "Finished",
        "Attempts",
        "Device",
        "Program",
        "Run",
        "Fingerprint",
    ];
    let mut table = Table::new(format!("Results per seed. {}.", title(first, headings)), &titles);
    let same =
        |r: &ResultRow| r.protocol == first.protocol && r.metric == first.metric && r.split == first.split;
    let mut rows: Vec<&ResultRow> = rows.iter().copied().filter(|r| same(r)).collect();
    rows.sort_by_key(|r| (r.method, r.seed));
    for row in rows {
        let detail = details.iter().find(|d| check::run_of_detail(d) == check::run_of_row(row));
        let known = |of: fn(&RunDetail) -> &str| {
            detail.map(|d| of(d)).filter(|t| !t.is_empty()).unwrap_or(MISSING).to_owned()
        };
        let fingerprint = detail.map_or("", |d| d.fingerprint.as_str());
        table.rows.push(vec![
            row.method.to_string().into(),
            row.seed.to_string().into(),
            row.value.map_or(row.status.name().to_owned(), |v| number::value(v, 5)).into(),
            row.params.map_or(MISSING.to_owned(), |n| number::count(n as f64)).into(),
            number::duration(row.stage_seconds.search).into(),
            number::duration(row.stage_seconds.tune).into(),
            number::duration(row.stage_seconds.retrain).into(),
            known(|d| &d.finished).into(),
            row.provenance.as_ref().map_or(MISSING.to_owned(), |p| p.attempts.to_string()).into(),
            row.provenance.as_ref().map_or_else(|| known(|d| &d.device), device).into(),
            row.provenance.as_ref().map_or(MISSING.to_owned(), |p| p.program.describe()).into(),
            Cell::code(&row.run),
            Cell::code(&fingerprint.chars().take(12).collect::<String>()),
        ]);
    }
    Some(table)
}

/// The device, with the instruction set and the threads: they explain differences in time and in the last bits.
fn device(from: &Provenance) -> String {
    let name = if from.device_name.is_empty() { &from.device } else { &from.device_name };
    format!("{name}, {}, {}", from.instruction_set, words::plural(from.threads, "thread"))
}

fn hyperparameters_table(details: &[&RunDetail], place: &str) -> Option<Table> {
    let titles = ["Method", ">Seed", ">Learning rate", ">Dropout", ">Weight decay", ">Momentum"];
    let mut table = Table::new(format!("{place}: hyperparameters selected by tuning, per seed."), &titles);
    for detail in details {
        let Some(h) = detail.hyperparameters else { continue };
        // Grid values are shown exactly, not rounded.
        let exact =
            |v: f64| Cell::from(if v != 0.0 && v.abs() < 1e-3 { format!("{v:e}") } else { v.to_string() });
        table.rows.push(vec![
            detail.method.to_string().into(),
            detail.seed.to_string().into(),
            exact(h.learning_rate),
            exact(h.dropout),
            exact(h.weight_decay),
            exact(h.momentum),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// The patterns found by the searches, with their seeds.
fn found<'a>(details: &[&'a RunDetail]) -> Vec<(u64, &'a Architecture)> {
    details.iter().filter_map(|d| Some((d.seed, d.architecture.as_ref()?))).collect()
}

fn pattern_table(details: &[&RunDetail], place: &str) -> Option<Table> {
    let found = found(details);
    let longest = found.iter().map(|(_, a)| a.layers.len()).max()?;
    let seeds: Vec<String> = found.iter().map(|(seed, _)| format!("Seed {seed}")).collect();
    let mut titles = vec!["Layer"];
    titles.extend(seeds.iter().map(String::as_str));
    let mut table =
        Table::new(format!("{place}: kernel size k and dilation d of every convolution."), &titles);
    for i in 0..longest {
        let layer = |a: &'_ Architecture| a.layers.get(i).cloned();
        let mut names: Vec<String> = found.iter().filter_map(|(_, a)| Some(layer(a)?.name)).collect();
        names.dedup();
        let mut row = vec![Cell::from(names.join(" / "))];
        for (_, architecture) in &found {
            row.push(match layer(architecture) {
                Some(l) => format!("k {}, d {}", l.candidate.kernel_size, l.candidate.dilation).into(),
                None => MISSING.into(),
            });
        }
        table.rows.push(row);
    }
    Some(table)
}

fn figures(rows: &[&ResultRow], details: &[&RunDetail], score: &str, place: &str, slug: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |subject, name: &str, caption: &str, alt: String, drawing| {
        let (file, caption) = (format!("figures/{slug}-{name}.svg"), caption.to_owned());
        figures.push(Figure { subject, file, caption, alt, drawing });
    };
    let found = found(details);
    if !found.is_empty() {
        let describe = |(seed, a): &(u64, &Architecture)| {
            let pattern = a.pattern().into_iter().map(|c| format!("{}×{}", c.kernel_size, c.dilation));
            format!("seed {seed}: {}", pattern.collect::<Vec<_>>().join(", "))
        };
        add(
            Subject::Pattern,
            "pattern",
            "The pattern found by the search. Each column is a convolution, in order from input to output. Bars are the \
             taps of its kernel along one axis, drawn to scale; the pale band is its extent d (k − 1) + 1.",
            format!(
                "Found pattern of {place}, kernel size × dilation per layer; {}",
                found.iter().map(describe).collect::<Vec<_>>().join("; ")
            ),
            pattern::draw(&found),
        );
        add(
            Subject::Softmax,
            "alpha",
            "Mixing weights softmax(α) of the candidates of each layer at the end of the search, where α are the \
             architecture parameters. The chosen candidate is framed, with its weight below.",
            format!(
                "Heat map of softmax(alpha) per layer and candidate, {place}; the chosen candidates form the pattern"
            ),
            softmax::draw(&found),
        );
    }
    let methods: Vec<Method> =
        details.iter().map(|d| d.method).collect::<BTreeSet<_>>().into_iter().collect();
    let seeds: Vec<u64> = details.iter().map(|d| d.seed).collect::<BTreeSet<_>>().into_iter().collect();
    for (kind, name, of) in [
        ("Search", "search-curves", (|d| &d.search_history) as fn(&RunDetail) -> &Vec<_>),
        ("Retraining", "retrain-curves", |d| &d.retrain_history),
    ] {
        let lines: Vec<curves::Line<'_>> = details
            .iter()
            .filter(|d| !of(d).is_empty())
            .map(|d| curves::Line {
                label: format!("{}, seed {}", d.method, d.seed),
                method: methods.iter().position(|m| *m == d.method).unwrap_or(0),
                seed: seeds.iter().position(|s| *s == d.seed).unwrap_or(0),
                history: of(d),
            })
            .collect();
        if lines.is_empty() {
            continue;
        }
        let end = |l: &curves::Line<'_>| {
            let loss = l.history.last().map_or(MISSING.to_owned(), |e| number::value(e.train_loss, 3));
            format!("{}: final loss {loss}", l.label)
        };
        add(
            Subject::Curves,
            name,
            &format!("{kind}: mean training loss per batch, and the metric after each evaluated epoch."),
            format!("{kind} curves of {place}; {}", lines.iter().map(end).collect::<Vec<_>>().join("; ")),
            curves::draw(&lines, &kind.to_lowercase(), score),
        );
    }
    let runs: BTreeMap<_, StageSeconds> = (rows.iter())
        .filter(|r| r.status == Status::Done)
        .map(|r| ((r.method, r.seed, r.run.as_str()), r.stage_seconds))
        .collect();
    let bars: Vec<(String, StageSeconds)> =
        runs.into_iter().map(|((method, seed, _), s)| (format!("{method}, seed {seed}"), s)).collect();
    let describe = |(label, stages): &(String, StageSeconds)| {
        format!("{label} {}", number::duration(Some(time::total(stages))))
    };
    if bars.is_empty() {
        return figures;
    }
    add(
        Subject::Time,
        "time",
        "Wall time per stage.",
        format!(
            "Wall time per stage of {place}; {}",
            bars.iter().map(describe).collect::<Vec<_>>().join("; ")
        ),
        time::draw(&bars),
    );
    figures
}
