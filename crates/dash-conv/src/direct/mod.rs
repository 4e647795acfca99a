//! The direct algorithm computes one multiply-add per tap and output: best for small feature maps and for strided or
//! depthwise layers.

pub(crate) mod cost;
mod depthwise;
mod rows;
mod stencil;

pub(crate) use depthwise::Depthwise;
pub(crate) use rows::Rows;

/// How the direct algorithm puts values into vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A feature map per lane: for depthwise layers.
    Depthwise,
    /// Neighbouring positions of a row: for layers that mix channels.
    Rows,
}
