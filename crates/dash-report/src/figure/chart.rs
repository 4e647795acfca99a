//! Draws panels with logarithmic axes side by side.

use super::{Anchor, Drawing, axis, axis::Scale, fill, shorten, stroke, width_of};
use crate::number;

/// A chart with logarithmic axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// Title of the vertical axis, drawn above it.
    pub title: String,
    /// Label of the horizontal axis.
    pub x: String,
    /// The lines. Lines at the same position of the list have the same colour in all panels.
    pub series: Vec<ChartSeries>,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChartSeries {
    /// Its name in the legend.
    pub label: String,
    /// Its points in order. Points that are not positive and finite are left out.
    pub points: Vec<(f64, f64)>,
}

const PANEL: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = PANEL - 16.0;
const UPPER: f64 = 34.0;
const LOWER: f64 = UPPER + 230.0;
const LEGEND: f64 = LOWER + 62.0;

pub(crate) fn draw(panels: &[Panel], note: &str) -> Drawing {
    let width = PANEL * panels.len().max(1) as f64;
    let mut drawing = Drawing::new(width, LEGEND + 36.0);
    for (number, one) in panels.iter().enumerate() {
        panel(&mut drawing, one, PANEL * number as f64);
    }
    let mut x = LEFT;
    for (number, series) in panels.first().map_or(&[][..], |panel| &panel.series).iter().enumerate() {
        let label = shorten(&series.label, 40);
        drawing.curve(&stroke(number), "", &[vec![(x, LEGEND), (x + 26.0, LEGEND)]], "");
        drawing.text("t", Anchor::Start, (x + 32.0, LEGEND + 4.0), &label);
        x += 32.0 + width_of(&label) + 18.0;
    }
    drawing.text("m", Anchor::Start, (LEFT, LEGEND + 24.0), note);
    drawing
}

/// The points that have a place on logarithmic axes.
fn points(series: &ChartSeries) -> impl Iterator<Item = (f64, f64)> {
    let placed = |v: f64| axis::plottable(v) && v > 0.0;
    series.points.iter().copied().filter(move |&(x, y)| placed(x) && placed(y))
}

fn panel(drawing: &mut Drawing, panel: &Panel, left: f64) {
    let all: Vec<(f64, f64)> = panel.series.iter().flat_map(points).collect();
    let (from, to) = (left + LEFT, left + RIGHT);
    let x = Scale::log(all.iter().map(|p| p.0), from, to);
    let y = Scale::log(all.iter().map(|p| p.1), LOWER, UPPER);
    drawing.text("t", Anchor::Start, (from, UPPER - 14.0), &shorten(&panel.title, 55));
    for (value, label) in y.ticks(5) {
        drawing.line("grid", (from, y.at(value)), (to, y.at(value)));
        drawing.text("s", Anchor::End, (from - 8.0, y.at(value) + 3.5), &label);
    }
    drawing.line("axis", (from, LOWER), (to, LOWER));
    // Ticks are at the measured positions.
    let mut measured: Vec<f64> = all.iter().map(|p| p.0).collect();
    measured.sort_by(f64::total_cmp);
    measured.dedup();
    let mut free = f64::NEG_INFINITY;
    for value in measured {
        let (at, label) = (x.at(value), number::count(value));
        drawing.line("axis", (at, LOWER), (at, LOWER + 4.0));
        if at - width_of(&label) / 2.0 >= free {
            drawing.text("s", Anchor::Middle, (at, LOWER + 16.0), &label);
            free = at + width_of(&label) / 2.0 + 2.0;
        }
    }
    drawing.text("m", Anchor::End, (to, LOWER + 32.0), &panel.x);
    if all.is_empty() {
        drawing.text("m", Anchor::Middle, ((from + to) / 2.0, (UPPER + LOWER) / 2.0), "nothing measured");
    }
    for (number, series) in panel.series.iter().enumerate() {
        let run: Vec<(f64, f64)> = points(series).map(|p| (x.at(p.0), y.at(p.1))).collect();
        for (at, value) in run.iter().zip(points(series)) {
            let title = format!("{}: {}", series.label, number::value(value.1, 4));
            drawing.dot(&fill(number), *at, &title);
        }
        drawing.curve(&stroke(number), "", &[run], &series.label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn svg(points: Vec<(f64, f64)>) -> String {
        let series = vec![ChartSeries { label: "a <b>".to_owned(), points }];
        let panel = Panel { title: "t".to_owned(), x: "x".to_owned(), series };
        String::from_utf8(draw(&[panel.clone(), panel], "note").standalone("alt")).unwrap()
    }

    #[test]
    fn equal_ratios_are_equal_distances_and_measured_places_are_named() {
        let file = svg(vec![(32.0, 1.0), (256.0, 10.0), (2048.0, 100.0)]);
        let parsed = roxmltree::Document::parse(&file).unwrap();
        let dots: Vec<(f64, f64)> =
            (parsed.descendants().filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "circle"))))
                .map(|n| ["cx", "cy"].map(|a| n.attribute(a).unwrap().parse().unwrap()).into())
                .collect();
        assert_eq!(dots.len(), 6, "three in each panel");
        let close = |a: f64, b: f64| assert!((a - b).abs() < 0.03, "{a} is not {b}");
        close(dots[1].0 - dots[0].0, dots[2].0 - dots[1].0);
        close(dots[1].1 - dots[0].1, dots[2].1 - dots[1].1);
        close(dots[3].0 - dots[0].0, PANEL);
        for label in ["32", "256", "2,048"] {
            assert_eq!(file.matches(&format!(">{label}</text>")).count(), 2, "{label}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_points_are_valid_svg(points in proptest::collection::vec(proptest::num::f64::ANY, 0..16)) {
            let points = points.chunks_exact(2).map(|p| (p[0], p[1])).collect();
            let file = svg(points);
            proptest::prop_assert!(roxmltree::Document::parse(&file).is_ok());
            proptest::prop_assert!(!file.contains("NaN") && !file.contains("inf"));
        }
    }
}
