//! Draws the wall time per stage as stacked bars.

use super::{Anchor, Drawing, axis::Scale, fill, shorten, width_of};
use crate::number;
use dash_core::results::StageSeconds;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = WIDTH - 110.0; // the total is written behind the bar
const ROW: f64 = 26.0;
const TOP: f64 = 38.0;

/// One bar per (label, stages): search, tuning and retraining one after the other.
pub(crate) fn draw(bars: &[(String, StageSeconds)]) -> Drawing {
    let lower = TOP + ROW * bars.len() as f64;
    let mut drawing = Drawing::new(WIDTH, lower + 44.0);
    let longest = bars.iter().map(|b| total(&b.1)).fold(0.0, f64::max);
    let (unit, name) = unit(longest);
    let x = Scale::linear(0.0, if longest > 0.0 { longest / unit } else { 1.0 }, LEFT, RIGHT);

    let mut at = LEFT;
    for (i, stage) in ["search", "tuning", "retraining"].into_iter().enumerate() {
        drawing.rect(&fill(COLOUR[i % 3]), (at, 7.0), (11.0, 11.0), 1.0, "");
        drawing.text("t", Anchor::Start, (at + 16.0, 17.0), stage);
        at += 34.0 + width_of(stage);
    }
    for (value, label) in x.ticks(5) {
        drawing.line("grid", (x.at(value), TOP - 6.0), (x.at(value), lower));
        drawing.text("s", Anchor::Middle, (x.at(value), lower + 15.0), &label);
    }
    drawing.text("m", Anchor::Start, (LEFT, lower + 33.0), &format!("wall time in {name}"));
    for (row, (label, stages)) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        drawing.text("t", Anchor::End, (LEFT - 10.0, y + 13.5), &shorten(label, 22));
        let mut done = 0.0;
        for (i, (stage, seconds)) in parts(stages).into_iter().enumerate() {
            let Some(seconds) = seconds.filter(|s| valid(*s)) else { continue };
            let from = x.at(done / unit);
            done += seconds;
            let title = format!("{label}: {stage} {}", number::duration(Some(seconds)));
            let size = (x.at(done / unit) - from, 16.0);
            drawing.rect(&fill(COLOUR[i % 3]), (from, y + 1.0), size, 1.0, &title);
        }
        let end = (x.at(done / unit) + 8.0, y + 13.5);
        let known = parts(stages).iter().any(|p| p.1.is_some_and(valid));
        drawing.text("m", Anchor::Start, end, &number::duration(known.then_some(done)));
    }
    drawing
}

/// Series colours of the three stages: distinct from each other in grey as well.
const COLOUR: [usize; 3] = [0, 4, 2];

fn parts(stages: &StageSeconds) -> [(&'static str, Option<f64>); 3] {
    [("search", stages.search), ("tuning", stages.tune), ("retraining", stages.retrain)]
}

fn valid(seconds: f64) -> bool {
    (0.0..1e15).contains(&seconds)
}

/// The sum of the stages that were measured, in seconds.
pub(crate) fn total(stages: &StageSeconds) -> f64 {
    parts(stages).into_iter().filter_map(|p| p.1).filter(|s| valid(*s)).sum()
}

/// A suitable unit for durations up to `longest`: its seconds and its name.
fn unit(longest: f64) -> (f64, &'static str) {
    match longest {
        s if s < 180.0 => (1.0, "seconds"),
        s if s < 3.0 * 3600.0 => (60.0, "minutes"),
        _ => (3600.0, "hours"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_join_without_gaps_and_skip_what_is_missing() {
        let stages = StageSeconds { search: Some(60.0), tune: None, retrain: Some(30.0) };
        let failed = StageSeconds { search: Some(f64::NAN), ..StageSeconds::default() };
        let file =
            String::from_utf8(draw(&[("a".to_owned(), stages), ("b".to_owned(), failed)]).standalone("x"))
                .unwrap();
        let parsed = roxmltree::Document::parse(&file).unwrap();
        let bars: Vec<(f64, f64)> = parsed
            .descendants()
            .filter(|n| n.attribute("height") == Some("16"))
            .map(|n| ["x", "width"].map(|a| n.attribute(a).unwrap().parse().unwrap()).into())
            .collect();
        assert_eq!(bars.len(), 2);
        // Coordinates are written with two decimals.
        let close = |a: f64, b: f64| assert!((a - b).abs() < 0.02, "{a} is not {b}");
        close(bars[0].0 + bars[0].1, bars[1].0);
        close(bars[0].1, 2.0 * bars[1].1);
        close(bars[1].0 + bars[1].1, RIGHT);
        assert_eq!(total(&failed), 0.0);
    }
}
