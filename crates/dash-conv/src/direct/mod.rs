//! The direct algorithm: shift and add over taps; small maps, strided or depthwise layers.
//!
//! Depthwise layers put planes into lanes ([`lanes`]); others go row by row ([`rows`]).

mod lanes;
mod rows;
mod stencil;

use crate::{ConvProblem, grid::Grid, op::Kernel};
use lanes::Lanes;
use rows::Rows;
use std::sync::Arc;
use stencil::Stencil;

/// The direct algorithm for `problem`.
pub(crate) fn kernel(problem: &ConvProblem) -> Arc<dyn Kernel> {
    if problem.is_depthwise() { Arc::new(Lanes::new(problem)) } else { Arc::new(Rows::new(problem)) }
}

/// Multiply-adds of vectors in one pass over the maps of one bundle of planes in lanes.
pub(crate) fn vector_multiply_adds(problem: &ConvProblem) -> f64 {
    Stencil::new(Grid::forward(problem)).multiply_adds()
}
