//! Charts of measurements that are no results of runs, such as benchmarks, as SVG files.
//!
//! ```
//! use dash_report::chart::{Panel, ChartSeries, draw};
//!
//! let series = ChartSeries { label: "fourier".into(), points: vec![(32.0, 0.5), (2048.0, 11.0)] };
//! let panel = Panel { title: "seconds".into(), x: "length".into(), series: vec![series] };
//! let svg = draw(&[panel], "2 threads", "Time over length.");
//! assert!(svg.starts_with(b"<svg "));
//! ```

/// A pair of logarithmic axes with what is drawn between them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Panel {
    /// What the vertical axis shows, above it.
    pub title: String,
    /// What the horizontal axis shows.
    pub x: String,
    /// The lines; the same position has the same colour in all panels.
    pub series: Vec<ChartSeries>,
}

/// A line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChartSeries {
    /// Its name in the legend.
    pub label: String,
    /// Its points in order; those that are not positive and finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// The panels side by side as an SVG file, with one legend, and `note` below; `alt` says in words
/// what is shown.
pub fn draw(panels: &[Panel], note: &str, alt: &str) -> Vec<u8> {
    crate::figure::chart::draw(panels, note).standalone(alt)
}
