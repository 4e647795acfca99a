//! Draws line charts of measurements, such as benchmarks, as SVG files.
//!
//! ```
//! use dash_report::chart::{Panel, ChartSeries, draw};
//!
//! let series = ChartSeries { label: "fourier".into(), points: vec![(32.0, 0.5), (2048.0, 11.0)] };
//! let panel = Panel { title: "seconds".into(), x: "length".into(), series: vec![series] };
//! let svg = draw(&[panel], "2 threads", "Time over length.");
//! assert!(svg.starts_with(b"<svg "));
//! ```

pub use crate::figure::chart::{ChartSeries, Panel};

/// Draws the panels side by side as an SVG file, with a common legend and a `note` below; `alt` is the alternative text.
pub fn draw(panels: &[Panel], note: &str, alt: &str) -> Vec<u8> {
    crate::figure::chart::draw(panels, note).standalone(alt)
}
