//! Draws the mixing weights at the end of the search: the softmax of the architecture parameters.

use super::{Anchor, Drawing, named, shorten};
use crate::number;
use dash_core::{architecture::Architecture, pipeline::Candidate};

const LEFT: f64 = 84.0;
const COLUMN: f64 = 52.0;
const ROW: f64 = 15.0;
const TOP: f64 = 44.0;
const NAMES: f64 = 96.0;

/// Smallest and largest probability of a figure. Cells are shaded between them: a short search
/// leaves all probabilities close to one over the number of candidates, and shades from zero would
/// show nothing.
#[derive(Clone, Copy)]
struct Range {
    least: f64,
    most: f64,
}

impl Range {
    fn of<'a>(architectures: impl Iterator<Item = &'a Architecture>) -> Range {
        let all = architectures.flat_map(|a| &a.layers).filter_map(|l| softmax(&l.alpha)).flatten();
        let range = all.fold((1.0f64, 0.0f64), |(least, most), p| (least.min(p), most.max(p)));
        Range { least: range.0.min(range.1), most: range.1 }
    }

    /// Position of a probability between the ends, 0 to 1.
    fn shade(self, p: f64) -> f64 {
        if self.most > self.least { (p - self.least) / (self.most - self.least) } else { 1.0 }
    }
}

/// One panel per (seed, architecture): columns are layers, rows are candidates with the kernel size
/// as the slow index, the opacity of a cell is softmax(alpha) between the ends of the figure. The
/// chosen candidate is framed and its probability written below.
pub(crate) fn draw(found: &[(u64, &Architecture)]) -> Drawing {
    let columns = found.iter().map(|(_, a)| a.layers.len()).max().unwrap_or(0);
    let named = named(found);
    let panel = |a: &Architecture, named: bool| {
        let below = if named { NAMES } else { 24.0 };
        ROW * (a.kernel_sizes.len() * a.dilations.len()) as f64 + 26.0 + below
    };
    let width = LEFT + (COLUMN * columns as f64).max(260.0) + 24.0;
    let height = TOP + found.iter().zip(&named).map(|((_, a), n)| panel(a, *n)).sum::<f64>();
    let mut drawing = Drawing::new(width, height);

    drawing.text("m", Anchor::Start, (4.0, 16.0), "softmax(α)");
    let range = Range::of(found.iter().map(|(_, a)| *a));
    drawing.text("m", Anchor::End, (LEFT + 86.0, 16.0), &number::value(range.least, 4));
    for i in 0..=10 {
        let at = (LEFT + 92.0 + 12.0 * f64::from(i), 6.0);
        drawing.rect("f0", at, (12.0, 12.0), f64::from(i) / 10.0, "");
    }
    drawing.rect("grid", (LEFT + 92.0, 6.0), (132.0, 12.0), 0.0, "");
    drawing.text("m", Anchor::Start, (LEFT + 230.0, 16.0), &number::value(range.most, 4));

    let mut top = TOP;
    for ((seed, architecture), named) in found.iter().zip(named) {
        matrix(&mut drawing, *seed, architecture, top, range);
        top += panel(architecture, named);
        if named {
            for (i, layer) in architecture.layers.iter().enumerate() {
                let at = (LEFT + COLUMN * (i as f64 + 0.5) + 4.0, top - NAMES + 4.0);
                drawing.turned("s", Anchor::End, at, -45, &shorten(&layer.name, 22));
            }
        }
    }
    drawing
}

fn matrix(drawing: &mut Drawing, seed: u64, architecture: &Architecture, top: f64, range: Range) {
    let candidates = Candidate::enumerate(&architecture.kernel_sizes, &architecture.dilations);
    let (rows, dilations) = (candidates.len(), architecture.dilations.len());
    let right = LEFT + COLUMN * architecture.layers.len() as f64;
    drawing.text("h", Anchor::Start, (4.0, top - 8.0), &format!("seed {seed}"));
    for (row, candidate) in candidates.iter().enumerate() {
        let y = top + ROW * row as f64;
        if row % dilations == 0 {
            drawing.text("t", Anchor::Start, (4.0, y + 11.5), &format!("k {}", candidate.kernel_size));
        }
        drawing.text("s", Anchor::End, (LEFT - 8.0, y + 11.0), &format!("d {}", candidate.dilation));
    }
    for (column, layer) in architecture.layers.iter().enumerate() {
        let x = LEFT + COLUMN * column as f64;
        let probabilities = softmax(&layer.alpha);
        let mut chosen = None;
        for (row, candidate) in candidates.iter().enumerate() {
            let at = (x + 1.0, top + ROW * row as f64 + 0.5);
            let size = (COLUMN - 2.0, ROW - 1.0);
            let probability = probabilities.as_ref().and_then(|p| p.get(row)).copied();
            let (k, d) = (candidate.kernel_size, candidate.dilation);
            let shown = probability.map_or("not finite".to_owned(), |p| format!("{p:.4}"));
            let title = format!("{}: k {k}, d {d}: {shown}", layer.name);
            match probability {
                Some(p) => drawing.rect("f0", at, size, range.shade(p), &title),
                None => drawing.rect("none", at, size, 1.0, &title),
            }
            if *candidate == layer.candidate {
                chosen = Some((at, size, probability));
            }
        }
        if let Some((at, size, probability)) = chosen {
            drawing.rect("chosen", at, size, 1.0, "");
            let below = (x + COLUMN / 2.0, top + ROW * rows as f64 + 14.0);
            let text = probability.map_or(number::MISSING.to_owned(), |p| format!("{p:.4}"));
            drawing.text("m", Anchor::Middle, below, &text);
        }
    }
    for group in (0..=rows).step_by(dilations.max(1)) {
        let y = top + ROW * group as f64;
        drawing.line("grid", (4.0, y), (right, y));
    }
}

/// exp(a) / sum exp(a), in double precision and shifted by the maximum; `None` if a logit is not
/// finite.
fn softmax(alpha: &[f32]) -> Option<Vec<f64>> {
    if alpha.iter().any(|a| !a.is_finite()) {
        return None;
    }
    let max = alpha.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f64> = alpha.iter().map(|a| (f64::from(*a) - f64::from(max)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    Some(weights.iter().map(|w| w / sum).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_run_from_the_least_to_the_most_likely() {
        let range = Range { least: 0.0624, most: 0.0628 };
        assert_eq!((range.shade(0.0624), range.shade(0.0628)), (0.0, 1.0));
        assert!((range.shade(0.0625) - 0.25).abs() < 1e-9);
        assert_eq!(Range { least: 0.5, most: 0.5 }.shade(0.5), 1.0);
    }

    #[test]
    fn probabilities() {
        // softmax([0, ln 3]) = [1/4, 3/4], at any shift.
        for shift in [0.0f32, 1000.0, -3.0e38] {
            let p = softmax(&[shift, shift]).unwrap();
            assert_eq!(p, [0.5, 0.5]);
        }
        let p = softmax(&[0.0, 3f32.ln()]).unwrap();
        assert!((p[0] - 0.25).abs() < 1e-7 && (p[1] - 0.75).abs() < 1e-7);
        assert_eq!(softmax(&[0.0, f32::NAN]), None);
    }
}
