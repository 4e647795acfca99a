//! Pictures of samples of a dataset as one SVG or PNG file: lines for 1-D tensors, heat maps for 2-D tensors.
//!
//! ```
//! use dash_report::samples::{Sample, Tensor, draw};
//!
//! let input = Tensor { name: "input".into(), shape: vec![1, 3], values: vec![0.0, 1.0, -1.0] };
//! let sample = Sample { title: "row 0: noise".into(), tensors: vec![input] };
//! assert!(draw(&[sample], "A signal.").starts_with(b"<svg "));
//! ```

pub use crate::figure::samples::{Sample, Tensor};

/// Draws the samples below each other as an SVG file; `alt` is the alternative text. Of a 2-D tensor at most the first
/// four channels are drawn; a 1-D tensor with many channels becomes one heat map.
pub fn draw(samples: &[Sample], alt: &str) -> Vec<u8> {
    crate::figure::samples::draw(samples).standalone(alt)
}

/// The same picture as a PNG file; `None` if it would have more than about sixty million pixels.
pub fn draw_png(samples: &[Sample]) -> Option<Vec<u8>> {
    crate::figure::samples::draw_png(samples)
}
