//! The transforms from feature maps in lanes to points and back: one factor of the bilinear algorithm per axis.

use super::points::{self, Factor, Linear, MOST, Visitor};
use crate::{parallel::Shared, simd::Vector};
use pulp::{Simd, WithSimd};

/// Some rows of feature maps, `[row][column][vector]`, with channels in the lanes. The last column is not part of the feature
/// maps: it is read and written in the place of columns outside of them.
pub(super) struct Rows<'a> {
    pub(super) values: &'a mut [f32],
    /// The distance of neighbouring rows, in vectors.
    pub(super) pitch: usize,
    /// The number of columns of the feature maps.
    pub(super) width: usize,
    /// The number of vectors that hold the channels.
    pub(super) vectors: usize,
}

impl Rows<'_> {
    fn check(&self, rows: usize, table: &[usize], lanes: usize) {
        assert!(
            self.values.len() >= ((rows - 1) * self.pitch + (self.width + 1) * self.vectors) * lanes
                && table.iter().all(|&column| column <= self.width),
            "rows outside their buffer"
        );
    }
}

/// The values of some tiles at the points: `[point][tile][vector]`.
#[derive(Clone, Copy)]
pub(super) struct Points<'a> {
    pub(super) values: Shared<'a, f32>,
    /// The distance of neighbouring points, in vectors.
    pub(super) pitch: usize,
    /// The first tile.
    pub(super) first: usize,
}

/// The number of points along an axis, and of outputs or taps.
pub(super) type Along = (usize, usize);

/// Transforms a strip of tiles from feature maps to points, or back if the factor is [`Factor::Interpolate`].
pub(super) struct Strip<'a> {
    pub(super) factor: Factor,
    pub(super) rows: Along,
    pub(super) columns: Along,
    pub(super) maps: Rows<'a>,
    pub(super) points: Points<'a>,
    /// The columns of each tile.
    pub(super) table: &'a [usize],
}

impl Strip<'_> {
    /// The number of columns of a tile that are read or written.
    fn per_tile(&self) -> usize {
        if self.factor == Factor::Input { self.columns.0 } else { self.columns.1 }
    }
}

impl WithSimd for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (factor, rows, columns) = (self.factor, self.rows, self.columns);
        self.maps.check(rows.0, self.table, S::F32_LANES);
        if factor == Factor::Interpolate {
            points::with(factor, columns.0, columns.1, Columns(simd, &mut self));
        }
        if rows.0 > 1 {
            points::with(factor, rows.0, rows.1, AlongRows(simd, &mut self));
        }
        if factor != Factor::Interpolate {
            points::with(factor, columns.0, columns.1, Columns(simd, &mut self));
        }
    }
}

/// Applies the factor along rows, in place.
struct AlongRows<'a, 'b, S>(S, &'a mut Strip<'b>);

impl<S: Simd> Visitor for AlongRows<'_, '_, S> {
    #[inline(always)]
    fn visit<L: Linear>(self) {
        let (simd, strip) = (self.0, self.1);
        let (count, pitch) = (strip.maps.width * strip.maps.vectors, strip.maps.pitch);
        let start = strip.maps.values.as_mut_ptr().cast::<Vector<S>>();
        for at in 0..count {
            let mut x = [simd.splat_f32s(0.0); MOST];
            // SAFETY: inside the buffer by the check in `with_simd`; vectors have any alignment that the
            // buffer, which begins at a cache line, gives them.
            #[allow(unsafe_code)]
            unsafe {
                for i in 0..L::FROM {
                    x[i] = start.add(i * pitch + at).read_unaligned();
                }
                let y = L::apply(simd, x);
                for i in 0..L::TO {
                    start.add(i * pitch + at).write_unaligned(y[i]);
                }
            }
        }
    }
}

/// Applies the factor along columns, between the feature maps and the points.
struct Columns<'a, 'b, S>(S, &'a mut Strip<'b>);

impl<S: Simd> Visitor for Columns<'_, '_, S> {
    #[inline(always)]
    fn visit<L: Linear>(self) {
        let (simd, strip) = (self.0, self.1);
        let (vectors, lanes, per_tile) = (strip.maps.vectors, S::F32_LANES, strip.per_tile());
        let (row_points, column_points) = (strip.rows.0, strip.columns.0);
        let (tiles, pitch) = (strip.table.len() / per_tile, strip.points.pitch);
        let len = ((row_points * column_points - 1) * pitch + tiles * vectors) * lanes;
        let points = strip.points.values.pointer(strip.points.first * vectors * lanes, len);
        let points = points.cast::<Vector<S>>();
        let inverse = strip.factor == Factor::Interpolate;
        assert!(per_tile >= if inverse { L::TO } else { L::FROM }, "columns of a tile");
        for row in 0..row_points {
            let maps = strip.maps.values.as_mut_ptr().cast::<Vector<S>>();
            let maps = maps.wrapping_add(row * strip.maps.pitch);
            let points = points.wrapping_add(row * column_points * pitch);
            for (tile, columns) in strip.table.chunks_exact(per_tile).enumerate() {
                for vector in 0..vectors {
                    // Computed at each use: with a table on the stack, written by one wide store, every column would wait
                    // until that store is in the cache.
                    let at = |i: usize| columns[i] * vectors + vector;
                    let to = tile * vectors + vector;
                    let mut x = [simd.splat_f32s(0.0); MOST];
                    // SAFETY: the maps by the check in `with_simd`, the points by that of `pointer`; their
                    // tiles belong to this task.
                    #[allow(unsafe_code)]
                    unsafe {
                        if inverse {
                            for i in 0..L::FROM {
                                x[i] = points.add(i * pitch + to).read_unaligned();
                            }
                            let y = L::apply(simd, x);
                            for i in 0..L::TO {
                                maps.add(at(i)).write_unaligned(y[i]);
                            }
                        } else {
                            for i in 0..L::FROM {
                                x[i] = maps.add(at(i)).read_unaligned();
                            }
                            let y = L::apply(simd, x);
                            for i in 0..L::TO {
                                points.add(i * pitch + to).write_unaligned(y[i]);
                            }
                        }
                    }
                }
            }
        }
    }
}
