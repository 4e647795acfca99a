//! Draws the learning curves of one stage: training loss and metric per epoch.

use super::{Anchor, Drawing, axis, axis::Scale, shorten, stroke, width_of};
use dash_core::results::Epoch;

const WIDTH: f64 = 500.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 14.0;
const PLOT: f64 = 150.0;
const PANEL: f64 = PLOT + 68.0;
const DASHES: [&str; 4] = ["", "7 4", "2 4", "10 4 2 4"];
/// Histories up to this length also show their points.
const DOTS: usize = 12;

/// One line: the training of one network.
pub(crate) struct Line<'a> {
    /// Method and seed, as text.
    pub(crate) label: String,
    /// Index of the method, which selects the colour.
    pub(crate) method: usize,
    /// Index of the seed, which selects the dash pattern.
    pub(crate) seed: usize,
    /// The epochs.
    pub(crate) history: &'a [Epoch],
}

/// A panel for the training loss and, if any epoch was evaluated, a panel for the metric. An axis is logarithmic if its
/// values are positive and span more than a factor of five; values that are not finite interrupt a line.
pub(crate) fn draw(lines: &[Line<'_>], kind: &str, score: &str) -> Drawing {
    let scored = lines.iter().any(|l| l.history.iter().any(|e| e.score.is_some()));
    let panels = if scored { 2.0 } else { 1.0 };
    let legend = legend(lines);
    let rows = legend.last().map_or(0.0, |l| l.1 + 1.0);
    let mut drawing = Drawing::new(WIDTH, PANEL * panels + 20.0 * rows + 8.0);
    panel(&mut drawing, lines, 0.0, &format!("{kind}: training loss"), |e| Some(e.train_loss));
    if scored {
        panel(&mut drawing, lines, PANEL, &format!("{kind}: {score}"), |e| e.score);
    }
    for (line, (x, row)) in lines.iter().zip(legend) {
        let y = PANEL * panels + 20.0 * row + 8.0;
        let swatch = vec![(x, y), (x + 26.0, y)];
        drawing.curve(&stroke(line.method), dash(line.seed), &[swatch], "");
        drawing.text("t", Anchor::Start, (x + 32.0, y + 4.0), &shorten(&line.label, 40));
    }
    drawing
}

fn dash(seed: usize) -> &'static str {
    DASHES.get(seed % DASHES.len()).copied().unwrap_or("")
}

/// Position (x, row) of each entry, from left to right and then downwards.
fn legend(lines: &[Line<'_>]) -> Vec<(f64, f64)> {
    let (mut x, mut row) = (LEFT, 0.0);
    let place = |line: &Line<'_>| {
        let width = 32.0 + width_of(&shorten(&line.label, 40)) + 18.0;
        if x > LEFT && x + width > WIDTH {
            (x, row) = (LEFT, row + 1.0);
        }
        let at = (x, row);
        x += width;
        at
    };
    lines.iter().map(place).collect()
}

fn panel(
    drawing: &mut Drawing,
    lines: &[Line<'_>],
    top: f64,
    title: &str,
    value: impl Fn(&Epoch) -> Option<f64>,
) {
    let points = |line: &Line<'_>| -> Vec<(f64, f64)> {
        let point = |e: &Epoch| value(e).map(|v| (e.epoch as f64 + 1.0, v));
        line.history.iter().filter_map(point).collect()
    };
    let all: Vec<(f64, f64)> = lines.iter().flat_map(&points).filter(|p| axis::plottable(p.1)).collect();
    let last = lines.iter().flat_map(|l| l.history).map(|e| e.epoch as f64 + 1.0).fold(1.0, f64::max);
    let (upper, lower) = (top + 26.0, top + 26.0 + PLOT);
    let y = Scale::fit(all.iter().map(|p| p.1), lower, upper);
    let x = if last > 1.0 {
        Scale::linear(1.0, last, LEFT + 6.0, RIGHT)
    } else {
        Scale::linear(0.5, 1.5, LEFT + 6.0, RIGHT)
    };

    let suffix = if y.is_log() { " (log scale)" } else { "" };
    drawing.text("t", Anchor::Start, (LEFT, top + 14.0), &format!("{}{suffix}", shorten(title, 60)));
    for (value, label) in y.ticks(4) {
        drawing.line("grid", (LEFT, y.at(value)), (RIGHT, y.at(value)));
        drawing.text("s", Anchor::End, (LEFT - 8.0, y.at(value) + 3.5), &label);
    }
    drawing.line("axis", (LEFT, lower), (RIGHT, lower));
    for (value, label) in x.ticks(6).into_iter().filter(|t| t.0.fract() == 0.0 && t.0 >= 1.0) {
        drawing.line("axis", (x.at(value), lower), (x.at(value), lower + 4.0));
        drawing.text("s", Anchor::Middle, (x.at(value), lower + 16.0), &label);
    }
    drawing.text("m", Anchor::End, (RIGHT, lower + 31.0), "epoch");
    if all.is_empty() {
        let middle = ((LEFT + RIGHT) / 2.0, (upper + lower) / 2.0);
        drawing.text("m", Anchor::Middle, middle, "no finite values");
    }
    for line in lines {
        let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for (epoch, value) in points(line) {
            match runs.last_mut() {
                Some(run) if axis::plottable(value) => run.push((x.at(epoch), y.at(value))),
                _ => runs.push(Vec::new()),
            }
        }
        drawing.curve(&stroke(line.method), dash(line.seed), &runs, &line.label);
        let few = line.history.len() <= DOTS;
        for run in runs.iter().filter(|run| few || run.len() == 1) {
            for &at in run {
                drawing.dot(&super::fill(line.method), at, &line.label);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(losses: &[f64]) -> Vec<Epoch> {
        let epoch = |(epoch, &train_loss)| Epoch {
            epoch,
            learning_rate: 0.1,
            train_loss,
            score: Some(train_loss / 2.0),
        };
        losses.iter().enumerate().map(epoch).collect()
    }

    fn svg(losses: &[f64]) -> String {
        let history = history(losses);
        let line = Line { label: "dash, seed 0".to_owned(), method: 0, seed: 0, history: &history };
        String::from_utf8(draw(&[line], "search", "score").standalone("x")).unwrap()
    }

    #[test]
    fn wide_ranges_get_a_log_axis() {
        assert!(svg(&[10.0, 1.0, 0.1]).contains("search: training loss (log scale)"));
        assert!(svg(&[0.4, 0.2, 0.1]).contains(">search: training loss<"));
        assert!(svg(&[10.0, 0.0]).contains(">search: training loss<"), "zero has no logarithm");
    }

    #[test]
    fn failures_interrupt_the_line() {
        let file = svg(&[3.0, 2.5, f64::NAN, 2.0, 1.9, f64::INFINITY]);
        let path = file.split(" d=\"").nth(1).and_then(|p| p.split('"').next()).unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 2, "{path}");
    }

    proptest::proptest! {
        #[test]
        fn any_history_is_valid_svg(losses in proptest::collection::vec(proptest::num::f64::ANY, 0..20)) {
            let file = svg(&losses);
            proptest::prop_assert!(roxmltree::Document::parse(&file).is_ok());
            proptest::prop_assert!(!file.contains("NaN") && !file.contains("inf"));
        }
    }
}
