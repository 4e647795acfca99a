//! Kernels of pairs of channels, as the transforms see them.

use crate::{
    maps::{Bundle, Planes, Source},
    parallel::Shared,
    simd::LANES,
};
use std::ops::Range;

/// Kernels: tap weights of pairs of channels.
pub(super) struct Kernels<'a> {
    pub(super) planes: Planes,
    /// Where the weights of the first pair begin, and the distances of neighbouring outer indices and
    /// channels.
    pub(super) start: usize,
    pub(super) distances: [usize; 2],
    /// Transform rows that hold taps, each with its transform columns and places in the weights.
    pub(super) taps: &'a [(usize, Vec<(usize, usize)>)],
    /// What weights are multiplied with on their way in and out.
    pub(super) scale: f32,
}

impl Kernels<'_> {
    /// Outer indices that share lanes, as blocks.
    fn blocks(&self) -> usize {
        self.planes.outer.div_ceil(self.planes.packed)
    }
}

impl Source for Kernels<'_> {
    fn planes(&self) -> &Planes {
        &self.planes
    }

    fn bundles(&self) -> usize {
        self.blocks() * self.planes.groups
    }

    // Group by group: a task that goes through all kernels of a group reads them one after the other.
    fn bundle(&self, index: usize) -> Bundle {
        let outer = index % self.blocks() * self.planes.packed;
        let count = self.planes.packed.min(self.planes.outer - outer);
        Bundle { index, piece: 0, outer, count, group: index / self.blocks() }
    }

    fn in_group(&self, group: usize) -> std::iter::StepBy<Range<usize>> {
        (group * self.blocks()..(group + 1) * self.blocks()).step_by(1)
    }

    fn per_piece(&self) -> usize {
        self.bundles()
    }

    fn live(&self) -> usize {
        self.taps.len()
    }

    fn rows(&self, _: usize) -> usize {
        self.taps.len()
    }

    fn positions(&self, _: usize) -> impl Iterator<Item = usize> {
        self.taps.iter().map(|&(row, _)| row)
    }

    fn fill(&self, bundle: &Bundle, row: usize, values: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        for (lane, s, channel) in bundle.lanes(&self.planes) {
            let start = self.start + (bundle.outer + s) * self.distances[0] + channel * self.distances[1];
            for &(column, place) in &self.taps[row].1 {
                out[column * LANES + lane] = self.scale * values[start + place];
            }
        }
    }

    fn read(&self, bundle: &Bundle, row: usize, in_lanes: &[f32], values: &Shared<'_, f32>) {
        for (lane, s, channel) in bundle.lanes(&self.planes) {
            let start = self.start + (bundle.outer + s) * self.distances[0] + channel * self.distances[1];
            for &(column, place) in &self.taps[row].1 {
                // SAFETY: a weight belongs to one tap of one pair, and so to one task.
                #[allow(unsafe_code)]
                let weight = unsafe { values.slice(start + place, 1) };
                weight[0] = self.scale * in_lanes[column * LANES + lane];
            }
        }
    }
}
