//! Renders the report as one self-contained HTML page, without network access, fonts or scripts.

use crate::{
    Error,
    document::{Document, Figure, Section, Subject},
    escape, figure,
    table::Table,
};
use minijinja::{Environment, Value, escape_formatter, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;

/// Files beside the page that it links to.
const FILES: [&str; 5] = ["results.csv", "results.parquet", "results.json", "results.md", "results.tex"];

#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    generated: &'a str,
    version: &'a str,
    lead: &'a str,
    findings: &'a [String],
    notes: &'a [String],
    style: Value,
    sections: Vec<PageSection<'a>>,
    glossary: &'a [(String, String)],
    configs: Vec<(&'a str, &'a str)>,
    files: [&'static str; 5],
}

#[derive(Serialize)]
struct PageSection<'a> {
    slug: &'a str,
    heading: &'a str,
    pipeline: &'a str,
    results: &'a [Table],
    seeds: &'a [Table],
    hyperparameters: Option<&'a Table>,
    pattern: Option<&'a Table>,
    pattern_figures: Vec<PageFigure<'a>>,
    curve_figures: Vec<PageFigure<'a>>,
    time_figures: Vec<PageFigure<'a>>,
}

#[derive(Serialize)]
struct PageFigure<'a> {
    svg: Value,
    caption: &'a str,
    file: &'a str,
}

impl<'a> PageSection<'a> {
    fn new(section: &'a Section) -> Self {
        let figures = |wanted: &[Subject]| {
            section.figures.iter().filter(|f| wanted.contains(&f.subject)).map(PageFigure::new).collect()
        };
        PageSection {
            slug: &section.slug,
            heading: &section.heading,
            pipeline: &section.pipeline,
            results: &section.results,
            seeds: &section.seeds,
            hyperparameters: section.hyperparameters.as_ref(),
            pattern: section.pattern.as_ref(),
            pattern_figures: figures(&[Subject::Pattern, Subject::Softmax]),
            curve_figures: figures(&[Subject::Curves]),
            time_figures: figures(&[Subject::Time]),
        }
    }
}

impl<'a> PageFigure<'a> {
    fn new(figure: &'a Figure) -> Self {
        // Drawings escape all text themselves.
        let svg = Value::from_safe_string(figure.drawing.inline(&figure.alt));
        PageFigure { svg, caption: &figure.caption, file: &figure.file }
    }
}

/// Renders the page. It is well-formed XML, so that a strict parser can check it.
pub(crate) fn render(document: &Document<'_>) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_formatter(|out, state, value| match value.as_str() {
        // This also replaces characters that XML forbids. Markup comes only from our own templates.
        Some(text) if !value.is_safe() => escape_formatter(out, state, &escape::page(text).into()),
        _ => escape_formatter(out, state, value),
    });
    // The ending `.html` turns on escaping.
    environment.add_template("index.html", include_str!("page/index.html"))?;
    let input = document.input;
    let style = format!("{}{}", include_str!("page/style.css"), figure::STYLE);
    let page = Page {
        name: &input.name,
        generated: &input.generated,
        version: &input.version,
        lead: &document.lead,
        findings: &document.findings,
        notes: &input.notes,
        style: Value::from_safe_string(style),
        sections: document.sections.iter().map(PageSection::new).collect(),
        glossary: &document.glossary,
        configs: input.configs.iter().map(|c| (c.pipeline.as_str(), c.toml.as_str())).collect(),
        files: FILES,
    };
    Ok(environment.get_template("index.html")?.render(Serde(page))?)
}
