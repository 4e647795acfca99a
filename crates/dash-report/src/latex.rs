//! The result tables as LaTeX. Every seed by itself is in the other formats: those tables are wider
//! than a page.

use crate::{
    document::Document,
    escape::{latex as escape, latex_comment as comment},
    table::{Align, Cell, Table},
};

/// One `table` environment per comparison, ready to be included; needs the package booktabs.
pub(crate) fn render(document: &Document<'_>) -> String {
    let mut out = format!(
        "% {}: made by dash-nas {} on {}\n% \\usepackage{{booktabs}} in the preamble\n",
        comment(&document.input.name),
        comment(&document.input.version),
        comment(&document.input.generated),
    );
    for section in &document.sections {
        for (i, table) in section.results.iter().enumerate() {
            out += &render_table(table, &format!("tab:{}-{}", section.slug, i + 1));
        }
    }
    out
}

fn render_table(table: &Table, label: &str) -> String {
    let columns: String =
        table.columns.iter().map(|c| if c.align == Align::Right { 'r' } else { 'l' }).collect();
    let line = |cells: Vec<String>| format!("    {} \\\\\n", cells.join(" & "));
    let mut out = String::from("\n\\begin{table}\n  \\centering\\small\n");
    out += &format!("  \\caption{{{}}}\n  \\label{{{label}}}\n", escape(&table.caption));
    out += &format!("  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n");
    out += &line(table.columns.iter().map(|c| escape(&c.title)).collect());
    out += "    \\midrule\n";
    for row in &table.rows {
        out += &line(row.iter().map(cell).collect());
    }
    out += "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n";
    out
}

fn cell(cell: &Cell) -> String {
    let text = escape(&cell.text);
    if cell.strong { format!("\\textbf{{{text}}}") } else { text }
}
