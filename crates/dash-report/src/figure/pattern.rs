//! Draws the pattern: the taps of each layer's kernel, to scale.

use super::{Anchor, Drawing, fill, named, shorten};
use dash_core::{
    architecture::{Architecture, LayerChoice},
    pipeline::Candidate,
};
use std::collections::BTreeSet;

const LEFT: f64 = 84.0;
const COLUMN: f64 = 52.0;
const TAPS: f64 = 150.0; // height of the longest kernel
const PANEL: f64 = TAPS + 58.0; // with the labels below
const TOP: f64 = 44.0;
const NAMES: f64 = 96.0; // height of the slanted layer names

/// One panel per (seed, architecture), one column per layer. A kernel is drawn along one of its
/// axes: every tap is a bar at its offset, on a band as long as the extent d (k - 1) + 1. All panels
/// share the scale; the colour is that of the dilation.
pub(crate) fn draw(found: &[(u64, &Architecture)]) -> Drawing {
    let columns = found.iter().map(|(_, a)| a.layers.len()).max().unwrap_or(0);
    let layers = || found.iter().flat_map(|(_, a)| &a.layers);
    let longest = layers().map(|layer| extent(layer.candidate)).max().unwrap_or(1);
    let scale = (TAPS / longest as f64).min(12.0);
    let dilations: Vec<usize> =
        found.iter().flat_map(|(_, a)| &a.dilations).copied().collect::<BTreeSet<_>>().into_iter().collect();
    let colour = |d: usize| dilations.iter().position(|&x| x == d).unwrap_or(0);

    let named = named(found);
    let height = TOP + PANEL * found.len() as f64 + NAMES * named.iter().filter(|n| **n).count() as f64;
    let legend = 70.0 + 52.0 * dilations.len() as f64;
    let width = (LEFT + COLUMN * columns as f64).max(LEFT + legend) + 24.0;
    let mut drawing = Drawing::new(width, height);

    drawing.text("m", Anchor::Start, (LEFT, 16.0), "dilation d");
    for (i, d) in dilations.iter().enumerate() {
        let x = LEFT + 66.0 + 52.0 * i as f64;
        drawing.rect(&fill(i), (x, 7.0), (11.0, 11.0), 1.0, "");
        drawing.text("t", Anchor::Start, (x + 16.0, 16.5), &d.to_string());
    }

    let mut top = TOP;
    for ((seed, architecture), named) in found.iter().zip(named) {
        let centre = top + TAPS / 2.0;
        drawing.text("h", Anchor::Start, (4.0, top + 4.0), &format!("seed {seed}"));
        for offset in ticks(longest) {
            let y = centre - offset * scale;
            drawing.line("grid", (LEFT, y), (LEFT + COLUMN * columns as f64, y));
            drawing.text("s", Anchor::End, (LEFT - 8.0, y + 3.5), &signed(offset));
        }
        drawing.turned("m", Anchor::Middle, (34.0, centre), -90, "tap offset");
        for (i, layer) in architecture.layers.iter().enumerate() {
            let x = LEFT + COLUMN * (i as f64 + 0.5);
            glyph(&mut drawing, layer, (x, centre), scale, &fill(colour(layer.candidate.dilation)));
            drawing.text(
                "t",
                Anchor::Middle,
                (x, top + TAPS + 20.0),
                &format!("k {}", layer.candidate.kernel_size),
            );
            drawing.text(
                "m",
                Anchor::Middle,
                (x, top + TAPS + 35.0),
                &format!("d {}", layer.candidate.dilation),
            );
        }
        top += PANEL;
        if named {
            for (i, layer) in architecture.layers.iter().enumerate() {
                let at = (LEFT + COLUMN * (i as f64 + 0.5) + 4.0, top - 6.0);
                drawing.turned("s", Anchor::End, at, -45, &shorten(&layer.name, 22));
            }
            top += NAMES;
        }
    }
    drawing
}

/// Positions from the first to the last tap; sizes are checked before anything is drawn.
fn extent(candidate: Candidate) -> usize {
    candidate.dilation.saturating_mul(candidate.kernel_size.saturating_sub(1)).saturating_add(1)
}

fn glyph(drawing: &mut Drawing, layer: &LayerChoice, (x, y): (f64, f64), scale: f64, fill: &str) {
    let Candidate { kernel_size, dilation } = layer.candidate;
    let extent = extent(layer.candidate);
    let length = extent as f64 * scale;
    let title = format!("{}: kernel size {kernel_size}, dilation {dilation}, extent {extent}", layer.name);
    drawing.rect(fill, (x - 12.0, y - length / 2.0), (24.0, length), 0.16, &title);
    // A tap is one position high; bars that would be too thin to see are drawn a little higher.
    let bar = (scale * 0.86).max(1.1);
    let middle = (kernel_size as f64 - 1.0) / 2.0;
    for tap in 0..kernel_size {
        let offset = (tap as f64 - middle) * dilation as f64;
        drawing.rect(fill, (x - 12.0, y - offset * scale - bar / 2.0), (24.0, bar), 1.0, &title);
    }
}

/// Offsets to mark: the centre and a round number on both sides.
fn ticks(longest: usize) -> Vec<f64> {
    let half = (longest.saturating_sub(1) / 2) as f64;
    if half < 1.0 {
        return vec![0.0];
    }
    let magnitude = 10f64.powf(half.log10().floor());
    let step = [5.0, 2.0, 1.0].map(|m| m * magnitude).into_iter().find(|s| *s <= half).unwrap_or(1.0);
    vec![-step, 0.0, step]
}

fn signed(offset: f64) -> String {
    match offset {
        o if o > 0.0 => format!("+{o}"),
        o if o < 0.0 => format!("−{}", -o),
        _ => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn architecture(choice: &[(usize, usize)]) -> Architecture {
        let layer = |(i, &(kernel_size, dilation)): (usize, &(usize, usize))| LayerChoice {
            name: format!("conv{i}"),
            candidate: Candidate { kernel_size, dilation },
            alpha: vec![0.0; 16],
        };
        Architecture {
            format: Architecture::FORMAT,
            kernel_sizes: vec![3, 5, 7, 9],
            dilations: vec![1, 3, 7, 15],
            layers: choice.iter().enumerate().map(layer).collect(),
        }
    }

    /// (y, height) of every bar, titles included in the count.
    fn bars(drawing: &Drawing) -> Vec<(f64, f64)> {
        let file = String::from_utf8(drawing.standalone("x")).unwrap();
        let parsed = roxmltree::Document::parse(&file).unwrap();
        let number = |n: &roxmltree::Node<'_, '_>, a: &str| n.attribute(a).unwrap().parse::<f64>().unwrap();
        parsed
            .descendants()
            .filter(|n| n.tag_name().name() == "rect" && n.attribute("width") == Some("24"))
            .map(|n| (number(&n, "y"), number(&n, "height")))
            .collect()
    }

    #[test]
    fn kernels_are_drawn_to_scale() {
        let found = architecture(&[(3, 1), (9, 15)]);
        let bars = bars(&draw(&[(0, &found)]));
        // One band and k taps per layer; 9 taps with dilation 15 reach over 121 positions.
        assert_eq!(bars.len(), (1 + 3) + (1 + 9));
        assert!((bars[0].1 / bars[4].1 - 3.0 / 121.0).abs() < 1e-3);
        let gap = bars[5].0 - bars[6].0;
        assert!((gap - 15.0 * TAPS / 121.0).abs() < 0.02, "{gap}");
        let centre = bars[4].0 + bars[4].1 / 2.0;
        let middle = bars[9].0 + bars[9].1 / 2.0;
        assert!((centre - middle).abs() < 0.02);
    }

    #[test]
    fn marks_are_inside_the_longest_kernel() {
        assert_eq!(ticks(121), [-50.0, 0.0, 50.0]);
        assert_eq!(ticks(271), [-100.0, 0.0, 100.0]);
        assert_eq!(ticks(3), [-1.0, 0.0, 1.0]);
        assert_eq!(ticks(1), [0.0]);
        assert_eq!([signed(50.0), signed(-50.0), signed(0.0)], ["+50", "−50", "0"]);
    }
}
