//! The result tables as LaTeX. Every seed by itself is in the other formats: those tables are wider
//! than a page.

use crate::{
    document::Document,
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

fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Text that LaTeX sets as it is. Characters of our own that plain LaTeX lacks become commands.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '|' => out.push_str("\\textbar{}"),
            '±' => out.push_str("$\\pm$"),
            '↓' => out.push_str("$\\downarrow$"),
            '↑' => out.push_str("$\\uparrow$"),
            '−' => out.push_str("$-$"),
            '—' => out.push_str("---"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_commands() {
        assert_eq!(
            escape("50% of a_b & {\\input{x}} ~^<\n0.1 ± 0.2"),
            "50\\% of a\\_b \\& \\{\\textbackslash{}input\\{x\\}\\} \\textasciitilde{}\\textasciicircum{}\\textless{} \
             0.1 $\\pm$ 0.2"
        );
        assert_eq!(comment("a\nb"), "a b");
    }
}
