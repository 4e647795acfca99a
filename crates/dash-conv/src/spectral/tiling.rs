//! How feature maps are divided into tiles that circular transforms convolve independently.
//!
//! Along one axis, offsets with greatest common divisor d never connect positions of different residues modulo d: a
//! dilated kernel is d dense convolutions on the sub-sampled axis (its polyphase components). Each of these may be
//! divided into tiles whose inputs overlap by the extent of the taps (overlap-save). A single tile needs no more than
//! its length plus the receptive radius, since what wraps around falls outside of the outputs that are kept (DASH,
//! section 4.2).
//!
//! ```text
//! axis of 14 positions, taps at -2, 0, 2 (dilation 2), 2 tiles per residue, outputs at every position:
//!
//! position     0  1  2  3  4  5  6  7  8  9 10 11 12 13
//! residue 0    a     a     a     a     b     b     b          tile a: outputs at 0, 2, 4, 6
//! residue 1       c     c     c     c     d     d     d       its inputs: the same and one more on each side
//!
//! transform of tile a, length 6:     |  0 | x0 | x2 | x4 | x6 | x8 |      outputs are valid at 1, 2, 3, 4
//! ```

use super::batched_fft;
use crate::ConvProblem;
use std::sync::Arc;

/// A tile of one axis: a run of inputs of one residue, and the outputs that they determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// First input position.
    pub(crate) in_start: usize,
    /// Number of inputs.
    pub(crate) in_len: usize,
    /// Transform position of the first input.
    pub(crate) in_at: usize,
    /// First output position.
    pub(crate) out_start: usize,
    /// Number of outputs.
    pub(crate) out_len: usize,
    /// Transform position of the first output.
    pub(crate) out_at: usize,
}

/// One axis of a convolution, divided into tiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TiledAxis {
    /// Transform length.
    pub(crate) len: usize,
    /// Greatest common divisor of the offsets, or 1 if it is not made use of.
    pub(crate) dilation: usize,
    /// Distance of neighbouring outputs of a tile in the output map.
    pub(crate) out_step: usize,
    /// The same in the transform.
    pub(crate) out_stride: usize,
    /// The tiles, residue by residue.
    pub(crate) tiles: Vec<Tile>,
    /// Whether every input position belongs to exactly one tile.
    pub(super) disjoint: bool,
}

/// The greatest common divisor.
pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How to divide an axis: what [`TiledAxis`] is computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AxisTiling {
    /// Input positions.
    size: usize,
    /// Distance of neighbouring outputs.
    stride: usize,
    /// The residues modulo this are convolved on their own.
    dilation: usize,
    /// How far taps reach before and after an output, in units of `dilation`.
    radius: [usize; 2],
    /// Tiles per residue.
    tiles: usize,
}

/// The most tiles per residue that are compared.
const TILES: usize = 24;

impl AxisTiling {
    /// The ways to divide an axis of a problem into tiles that are not shorter than `shortest(extent of the taps)`.
    pub(crate) fn candidates(
        problem: &ConvProblem,
        axis: usize,
        shortest: impl Fn(usize) -> usize,
    ) -> Vec<AxisTiling> {
        let offsets = || problem.offsets.iter().map(move |o| i64::from(o[axis]));
        let divisor = offsets().fold(0, |g, o| gcd(g, o.unsigned_abs() as usize)).max(1);
        let divisors = if divisor > 1 { vec![1, divisor] } else { vec![1] };
        let (size, stride) = (problem.size[axis], problem.stride[axis]);
        let of = |dilation: usize| {
            let radius =
                |sign: i64| offsets().map(|o| (sign * o).max(0) as usize / dilation).max().unwrap_or(0);
            let radius = [radius(-1), radius(1)];
            let shortest = shortest(radius[0] + radius[1]).max(3);
            let most = size.div_ceil(dilation).div_ceil(shortest).clamp(1, TILES);
            (1..=most).map(move |tiles| AxisTiling { size, stride, dilation, radius, tiles })
        };
        divisors.into_iter().flat_map(of).collect()
    }

    /// The axis divided in this way; `fast(least)` is the length of a transform of at least `least` positions.
    pub(crate) fn forward(&self, fast: impl Fn(usize) -> usize) -> TiledAxis {
        let AxisTiling { size, stride, dilation, radius: [before, after], tiles } = *self;
        let outputs = size.div_ceil(stride);
        let longest = size.div_ceil(dilation);
        let tile = longest.div_ceil(tiles);
        let len = if tile >= longest { longest + before.max(after) } else { tile + before + after };
        let common = gcd(stride, dilation);
        let mut axis = TiledAxis {
            len: fast(len),
            dilation,
            out_step: dilation / common,
            out_stride: stride / common,
            tiles: Vec::new(),
            disjoint: true,
        };
        for residue in 0..dilation.min(size) {
            let inputs = (size - residue).div_ceil(dilation);
            // Outputs t at positions congruent to the residue, if there are any.
            let Some(first) = (0..axis.out_step.min(outputs)).find(|t| t * stride % dilation == residue)
            else {
                axis.disjoint = false;
                continue;
            };
            let count = (outputs - first).div_ceil(axis.out_step);
            let first_at = first * stride / dilation;
            for start in (0..inputs).step_by(tile) {
                let end = (start + tile).min(inputs);
                let (from, to, origin) = if tile >= longest {
                    (0, inputs, 0)
                } else {
                    (start.saturating_sub(before), (end + after).min(inputs), start as i64 - before as i64)
                };
                // Outputs j of the residue at transform positions first_at + j out_stride in start..end.
                let j = |bound: usize| bound.saturating_sub(first_at).div_ceil(axis.out_stride).min(count);
                let (low, high) = (j(start), j(end));
                if low == high {
                    // Its inputs may matter to no output at all.
                    axis.disjoint = false;
                    continue;
                }
                axis.tiles.push(Tile {
                    in_start: residue + dilation * from,
                    in_len: to - from,
                    in_at: (from as i64 - origin) as usize,
                    out_start: first + axis.out_step * low,
                    out_len: high - low,
                    out_at: (((first_at + axis.out_stride * low) as i64) - origin) as usize,
                });
            }
            axis.disjoint &= tile >= longest;
        }
        axis
    }

    /// The same for the gradient of the input, which is a convolution of that of the output, spread by the stride, with
    /// taps at the opposite offsets.
    pub(crate) fn backward(&self, fast: impl Fn(usize) -> usize) -> TiledAxis {
        let [before, after] = self.radius;
        AxisTiling { stride: 1, radius: [after, before], ..*self }.forward(fast)
    }
}

/// A convolution divided into tiles along both axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    pub(crate) rows: Arc<TiledAxis>,
    pub(crate) columns: Arc<TiledAxis>,
}

impl Tiling {
    /// All tilings of a problem that are worth a comparison; the first has a single tile per map.
    pub(crate) fn candidates(problem: &ConvProblem) -> Vec<Tiling> {
        let [rows, columns] = [0, 1].map(|axis| {
            let mut found: Vec<Arc<TiledAxis>> = Vec::new();
            // Tiles shorter than the extent of the taps waste most of their transform.
            for tiling in AxisTiling::candidates(problem, axis, |extent| extent) {
                let fast = |least| if axis == 0 { fast_rows(least) } else { fast_columns(least) };
                let new = Arc::new(tiling.forward(fast));
                if !found.contains(&new) {
                    found.push(new);
                }
            }
            found
        });
        let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r.clone(), c.clone())));
        pairs.map(|(rows, columns)| Tiling { rows, columns }).collect()
    }

    /// The number of tiles of a feature map.
    pub(crate) fn count(&self) -> usize {
        self.rows.tiles.len() * self.columns.tiles.len()
    }

    /// Whether every input position belongs to exactly one tile.
    pub(super) fn disjoint(&self) -> bool {
        self.rows.disjoint && self.columns.disjoint
    }
}

/// Relative cost per position of a complex transform of `len`, in passes over the data.
fn cost(len: usize) -> Option<f64> {
    if !batched_fft::supports(len) {
        return None;
    }
    let mut rest = len;
    let mut cost = 0.0;
    // Flops per position grow slower than the radix. Estimates: the order of lengths matters, not the unit.
    for (radix, passes) in [(5, 1.35), (3, 0.95), (4, 1.0), (2, 0.7)] {
        while rest.is_multiple_of(radix) {
            rest /= radix;
            cost += passes;
        }
    }
    Some(cost)
}

/// The length of the fastest transform of at least `least` positions along rows.
fn fast_rows(least: usize) -> usize {
    if least <= 1 { 1 } else { fastest(least, |n| cost(n).map(|c| n as f64 * (c + 0.5))) }
}

/// The same along columns, where the data are real and lengths even.
fn fast_columns(least: usize) -> usize {
    let real = |n: usize| if n.is_multiple_of(2) { cost(n / 2) } else { None };
    fastest(least.max(2), |n| real(n).map(|c| n as f64 * (c + 1.0)))
}

fn fastest(least: usize, cost: impl Fn(usize) -> Option<f64>) -> usize {
    // Between n and 2 n there is always a power of two.
    let last = least.next_power_of_two();
    let candidates = (least..=last).filter_map(|n| cost(n).map(|c| (n, c)));
    candidates.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(last, |(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::problem};

    /// Convolves one axis tile by tile with naive circular sums.
    fn by_tiles(axis: &TiledAxis, x: &[f64], taps: &[(i64, f64)], outputs: usize) -> Vec<f64> {
        let mut y = vec![f64::NAN; outputs];
        for tile in &axis.tiles {
            let mut buffer = vec![0.0; axis.len];
            for j in 0..tile.in_len {
                buffer[tile.in_at + j] = x[tile.in_start + axis.dilation * j];
            }
            for j in 0..tile.out_len {
                let at = tile.out_at + axis.out_stride * j;
                let sum = taps.iter().map(|&(o, w)| {
                    let o = o / axis.dilation as i64;
                    w * buffer[(at as i64 + o).rem_euclid(axis.len as i64) as usize]
                });
                y[tile.out_start + axis.out_step * j] = sum.sum();
            }
        }
        y
    }

    #[test]
    fn tiles_together_are_the_whole_convolution() {
        for size in [1, 2, 5, 8, 13, 32] {
            for stride in [1, 2, 3] {
                for (kernel, dilation) in [(1, 1), (3, 1), (3, 2), (5, 3), (7, 4), (9, 15)] {
                    let taps = TapSet::centred(1, kernel, dilation).unwrap();
                    let problem = problem(&taps, [1, 1, 1, 1], [1, size], [1, stride]);
                    let x: Vec<f64> = (0..size).map(|i| ((7 * i) % 11) as f64 - 4.0).collect();
                    let taps: Vec<(i64, f64)> = (problem.offsets.iter().enumerate())
                        .map(|(i, o)| (i64::from(o[1]), (i + 1) as f64))
                        .collect();
                    let outputs = size.div_ceil(stride);
                    let expected: Vec<f64> = (0..outputs)
                        .map(|t| {
                            let at =
                                |o: i64| usize::try_from((t * stride) as i64 + o).ok().and_then(|p| x.get(p));
                            taps.iter().map(|&(o, w)| w * at(o).copied().unwrap_or(0.0)).sum()
                        })
                        .collect();
                    for tiling in Tiling::candidates(&problem) {
                        let y = by_tiles(&tiling.columns, &x, &taps, outputs);
                        assert_eq!(y, expected, "{size} {stride} {kernel} {dilation} {:?}", tiling.columns);
                    }
                }
            }
        }
    }

    #[test]
    fn slow_lengths_are_avoided() {
        assert_eq!((fast_rows(1), fast_columns(1)), (1, 2));
        for least in 2..3000 {
            let (r, c) = (fast_rows(least), fast_columns(least));
            assert!(r >= least && c >= least && c.is_multiple_of(2));
            assert!(least < 16 || r.max(c) as f64 <= 1.34 * least as f64, "{least} -> {r}, {c}");
        }
    }
}
