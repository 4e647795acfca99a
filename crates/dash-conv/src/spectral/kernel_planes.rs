//! Turns the kernels of pairs of channels into planes.

use crate::{
    parallel::Shared,
    planes::{LanePlane, PlaneBatch, PlaneSource, Planes},
    simd::LANES,
};
use std::ops::Range;

/// A transform row that holds taps.
pub(super) struct TapRow {
    /// Index of the row.
    pub(super) row: usize,
    /// The transform column and the tap index of each of its taps.
    pub(super) taps: Vec<(usize, usize)>,
}

/// The kernels of some pairs of channels: planes whose live rows are those that hold taps.
pub(super) struct KernelPlanes<'a> {
    pub(super) planes: Planes,
    /// The index of the first weight of the first pair.
    pub(super) start: usize,
    /// The distances of neighbouring outer indices and of neighbouring channels in the weights.
    pub(super) strides: [usize; 2],
    /// The live rows.
    pub(super) rows: &'a [TapRow],
    /// The factor of the weights when they are loaded and when they are stored.
    pub(super) scale: f32,
}

impl KernelPlanes<'_> {
    /// The number of blocks of outer indices that share lanes.
    fn blocks(&self) -> usize {
        self.planes.outer.div_ceil(self.planes.outer_per_batch)
    }

    /// The index of the first weight of a pair.
    fn pair(&self, batch: &PlaneBatch, outer: usize, channel: usize) -> usize {
        self.start + (batch.outer + outer) * self.strides[0] + channel * self.strides[1]
    }
}

impl PlaneSource for KernelPlanes<'_> {
    fn planes(&self) -> &Planes {
        &self.planes
    }

    fn batches(&self) -> usize {
        self.blocks() * self.planes.groups
    }

    // Group by group: a task that goes through all kernels of a group reads them one after the other.
    fn batch(&self, index: usize) -> PlaneBatch {
        let outer = index % self.blocks() * self.planes.outer_per_batch;
        let count = self.planes.outer_per_batch.min(self.planes.outer - outer);
        PlaneBatch { index, tile: 0, outer, count, group: index / self.blocks() }
    }

    fn of_group(&self, group: usize) -> std::iter::StepBy<Range<usize>> {
        (group * self.blocks()..(group + 1) * self.blocks()).step_by(1)
    }

    fn per_tile(&self) -> usize {
        self.batches()
    }

    fn overlapping(&self) -> bool {
        false
    }

    fn live(&self) -> usize {
        self.rows.len()
    }

    fn rows(&self, _: usize) -> usize {
        self.rows.len()
    }

    fn positions(&self, _: usize) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|row| row.row)
    }

    fn load(&self, batch: &PlaneBatch, row: usize, values: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        for LanePlane { lane, outer, channel } in batch.lanes(&self.planes) {
            let start = self.pair(batch, outer, channel);
            for &(column, tap_index) in &self.rows[row].taps {
                out[column * LANES + lane] = self.scale * values[start + tap_index];
            }
        }
    }

    fn store(&self, batch: &PlaneBatch, row: usize, in_lanes: &[f32], values: &Shared<'_, f32>) {
        for LanePlane { lane, outer, channel } in batch.lanes(&self.planes) {
            let start = self.pair(batch, outer, channel);
            for &(column, tap_index) in &self.rows[row].taps {
                // SAFETY: a weight belongs to one tap of one pair, and so to one task.
                #[allow(unsafe_code)]
                let weight = unsafe { values.slice(start + tap_index, 1) };
                weight[0] = self.scale * in_lanes[column * LANES + lane];
            }
        }
    }
}
