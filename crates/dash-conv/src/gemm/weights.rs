//! Computes the gradients of the weights: products of the inputs under each tap with the gradients of the outputs, summed
//! over positions.

use super::{
    dots::{Dots, over_lanes},
    layer::{Gemm, Local},
    tiles::{Tile, Tiling},
};
use crate::{
    buffer::Buffer,
    product::{Product, Right, panels},
    side::Side,
    simd::{LANES, run_lanes},
    transpose,
};
use rayon::prelude::*;

/// The most bytes of partial sums.
const PARTIALS: usize = 64 << 20;

/// Up to this number of output channels, lanes hold positions and not channels.
const FEW: usize = LANES / 2;

impl Gemm {
    /// Copies the gradients of a tile's outputs to `lines`, if they are not contiguous in memory or if `always`; returns the
    /// index of the line of the first channel otherwise.
    fn gradient_lines(
        tiling: &Tiling,
        tile: &Tile,
        (grad, side): (&[f32], Side),
        lines: &mut [f32],
        always: bool,
    ) -> Option<usize> {
        let start = tiling.contiguous(tile, side.size[1]);
        let start = start.map(|start| side.map(tile.samples.start, 0) + start);
        if start.is_some() && !always {
            return start;
        }
        let len = tile.len();
        let lines = lines.chunks_exact_mut(len.next_multiple_of(LANES)).take(side.count);
        for (channel, line) in lines.enumerate() {
            if let Some(start) = start {
                line[..len].copy_from_slice(&grad[start + channel * side.plane()..][..len]);
                continue;
            }
            // Outputs of the forward direction are contiguous within a row.
            Self::rows_of(tiling, tile, side, channel, |at, count, _, row| {
                line[row * count..][..count].copy_from_slice(&grad[at..at + count]);
            });
        }
        None
    }

    /// Copies the gradients of a tile's outputs to `out`, channels in lanes: `[panel of channels][position]`. Some are
    /// gathered in `lines` first. Lanes without a channel keep their values: nothing reads the sums of these lanes.
    fn gradient_panels(
        &self,
        tiling: &Tiling,
        tile: &Tile,
        (grad, side): (&[f32], Side),
        lines: &mut [f32],
        out: &mut [f32],
    ) {
        let len = tile.len();
        let start = Self::gradient_lines(tiling, tile, (grad, side), lines, false);
        let line = |channel: usize| match start {
            Some(start) => &grad[start + channel * side.plane()..][..len],
            None => &lines[channel * len.next_multiple_of(LANES)..][..len],
        };
        for (vector, width) in panels(side.count.div_ceil(self.register)) {
            let (start, pitch) = (vector * self.register, width * self.register);
            let panel = &mut out[start * len..][..pitch * len];
            let count = pitch.min(side.count - start);
            transpose::rows_into_lanes(count, |row| line(start + row), panel, pitch);
        }
    }

    /// The gradients of the weights of one group.
    pub(super) fn backward_weights(&self, x: &[f32], grad: &[f32], group: usize, dw: &mut [f32]) {
        let (p, tiling) = (&self.problem, &self.forward);
        let (from, to) = (Side::input(p, group), Side::output(p, group));
        let taps = tiling.grid.taps.len();
        let few = to.count <= FEW;
        let vectors = to.count.div_ceil(self.register);
        // Sums are `[input][tap][output]`, with few outputs `[input][tap][output][lane]`.
        let row = if few { to.count * LANES } else { vectors * self.register };
        let size = from.count * taps * row;
        // The tiles are divided into parts, each summed in order; then the parts. Their number follows from the problem, not
        // from registers.
        let tiles = tiling.tiles.len();
        let elements = from.count * taps * if few { to.count * LANES } else { to.count };
        let per_part = tiles.div_ceil((PARTIALS / 4 / elements.max(1)).clamp(2, 16));
        let parts = tiles.div_ceil(per_part);
        let mut partial = Buffer::zeroed(parts * size);
        let local = || {
            let panels = if few { 0 } else { row * tiling.widest };
            (self.local(tiling, from, to.count), Buffer::zeroed(panels), Buffer::scratch(size))
        };
        partial.par_chunks_mut(size.max(1)).zip(tiling.tiles.par_chunks(per_part)).for_each_init(
            local,
            |(local, grads, sub), (sums, tiles)| {
                let Local { matrix, results: lines, .. } = local;
                for tiles in tiles.chunk_by(|a, b| a.segment == b.segment) {
                    let segment = &tiling.segments[tiles[0].segment];
                    let terms = from.count * segment.taps.len();
                    if terms == 0 {
                        continue;
                    }
                    let whole = segment.taps.len() == taps;
                    for (i, tile) in tiles.iter().enumerate() {
                        let (left, left_row) = Self::matrix(tiling, tile, (x, from), matrix);
                        let out = if whole { &mut *sums } else { &mut sub[..] };
                        let (len, add) = (tile.len(), whole || i > 0);
                        if few {
                            Self::gradient_lines(tiling, tile, (grad, to), lines, true);
                            run_lanes(
                                self.arch,
                                Dots {
                                    left,
                                    left_row,
                                    right: lines,
                                    right_row: len.next_multiple_of(LANES),
                                    size: [terms, to.count, len],
                                    sums: out,
                                    add,
                                },
                            );
                            continue;
                        }
                        self.gradient_panels(tiling, tile, (grad, to), lines, grads);
                        self.arch.dispatch(Product {
                            left,
                            left_strides: [left_row, 1],
                            right: grads,
                            right_as: Right::Panels,
                            out,
                            out_row: row,
                            size: [terms, vectors, len],
                            add,
                        });
                    }
                    if whole {
                        continue;
                    }
                    let inputs = sub.chunks_exact(segment.taps.len() * row);
                    for (sums, sub) in sums.chunks_exact_mut(taps * row).zip(inputs) {
                        for (index, sub) in segment.indices.iter().zip(sub.chunks_exact(row)) {
                            let sums = &mut sums[index * row..][..row];
                            sums.iter_mut().zip(sub).for_each(|(sum, value)| *sum += value);
                        }
                    }
                }
            },
        );
        let (total, rest) = partial.split_at_mut(size);
        for part in rest.chunks_exact(size.max(1)) {
            total.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        for output in 0..to.count {
            for input in 0..from.count {
                let pair = &mut dw[((group * to.count + output) * from.count + input) * p.taps..][..p.taps];
                for (index, tap) in tiling.grid.taps.iter().enumerate() {
                    let sums = &total[(input * taps + index) * row..][..row];
                    pair[tap.tap_index] =
                        if few { over_lanes(&sums[output * LANES..][..LANES]) } else { sums[output] };
                }
            }
        }
    }
}
