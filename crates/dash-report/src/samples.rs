//! Pictures of a few samples of a dataset as one SVG or PNG file: lines for 1-D tensors, heat maps for 2-D.
//!
//! ```
//! use dash_report::samples::{Sample, Tensor, draw};
//!
//! let input = Tensor { name: "input".into(), shape: vec![1, 3], values: vec![0.0, 1.0, -1.0] };
//! let sample = Sample { title: "row 0: noise".into(), tensors: vec![input] };
//! assert!(draw(&[sample], "A signal.").starts_with(b"<svg "));
//! ```

/// A sample and what is written above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which sample it is, and its class or labels.
    pub title: String,
    /// Its tensors, from left to right.
    pub tensors: Vec<Tensor>,
}

/// A tensor with channels first.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Channels, then one or two axes.
    pub shape: Vec<usize>,
    /// As many numbers as the shape says; others are left out.
    pub values: Vec<f32>,
}

/// The samples one below the other; `alt` says in words what is shown. Of many channels of 2-D tensors
/// the first four are drawn; many channels of 1-D tensors make one heat map.
pub fn draw(samples: &[Sample], alt: &str) -> Vec<u8> {
    crate::figure::samples::draw(samples).standalone(alt)
}

/// The same picture as a PNG file; `None` if it would have more than about sixty million pixels.
pub fn draw_png(samples: &[Sample]) -> Option<Vec<u8>> {
    crate::figure::samples::draw_png(samples)
}
