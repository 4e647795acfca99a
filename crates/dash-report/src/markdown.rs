//! Writes the report as Markdown with GitHub's tables.

use crate::{
    document::{Document, Section},
    escape::markdown as escape,
    table::{Align, Cell, Table},
};

/// The whole report: headings, tables, links to the figures, and the glossary.
pub(crate) fn render(document: &Document<'_>) -> String {
    let input = document.input;
    let mut out = format!("# {}\n\n{}\n", escape(&input.name), escape(&document.lead));
    for finding in document.findings.iter().chain(&input.notes) {
        out += &format!("\n- {}", escape(finding));
    }
    out += "\n\n## Results\n";
    for table in document.sections.iter().flat_map(|s| &s.results) {
        out += &render_table(table);
    }
    for section in &document.sections {
        out += &render_section(section);
    }
    out += "\n## How to read this\n\n";
    for (term, meaning) in &document.glossary {
        out += &format!("- **{}**: {}\n", escape(term), escape(meaning));
    }
    out += &format!("\nGenerated on {} by dash-nas {}.\n", escape(&input.generated), escape(&input.version));
    out
}

fn render_section(section: &Section) -> String {
    let mut out = format!("\n## {}\n\nPipeline {}.\n", escape(&section.heading), escape(&section.pipeline));
    for figure in &section.figures {
        out += &format!("\n![{}]({})\n\n*{}*\n", escape(&figure.alt), figure.file, escape(&figure.caption));
    }
    for table in section.pattern.iter().chain(&section.hyperparameters).chain(&section.seeds) {
        out += &render_table(table);
    }
    out
}

fn render_table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = format!("\n{}\n\n", escape(&table.caption));
    out += &line(table.columns.iter().map(|c| escape(&c.title)).collect());
    let rule = |align| if align == Align::Right { "---:".to_owned() } else { ":---".to_owned() };
    out += &line(table.columns.iter().map(|c| rule(c.align)).collect());
    for row in &table.rows {
        out += &line(row.iter().map(cell).collect());
    }
    out
}

fn cell(cell: &Cell) -> String {
    let text = escape(&cell.text);
    if cell.strong { format!("**{text}**") } else { text }
}
