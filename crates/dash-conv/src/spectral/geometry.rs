//! How a map is cut into pieces that are convolved independently by circular transforms.
//!
//! Along one axis, offsets with greatest common divisor d never connect positions of different
//! residues modulo d: a dilated kernel is d dense convolutions on the sub-sampled axis (polyphase).
//! Each of these may be cut into tiles whose inputs overlap by the extent of the taps
//! (overlap-save); a single tile needs no more than its length plus the farthest reach, since what
//! wraps around falls outside of the kept positions (DASH, section 4.2, with the reachable crop).

use super::lanes;
use crate::ConvProblem;

/// A piece of an axis: a run of sub-sampled inputs, and the outputs that they determine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// First input position.
    pub(crate) in_start: usize,
    /// Inputs.
    pub(crate) in_len: usize,
    /// Transform position of the first input.
    pub(crate) in_at: usize,
    /// First output position.
    pub(crate) out_start: usize,
    /// Outputs.
    pub(crate) out_len: usize,
    /// Transform position of the first output.
    pub(crate) out_at: usize,
}

/// One axis of a convolution, cut into pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Transform length.
    pub(crate) len: usize,
    /// Greatest common divisor of the offsets that the pieces make use of.
    pub(crate) dilation: usize,
    /// Distance of neighbouring outputs of a piece in the output map.
    pub(crate) out_step: usize,
    /// The same in the transform.
    pub(crate) out_stride: usize,
    pub(crate) pieces: Vec<Piece>,
    /// Whether every input position belongs to exactly one piece.
    pub(super) disjoint: bool,
}

pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Axis {
    /// `size` positions with outputs every `stride`; taps look `before` and `after` far, in units of
    /// `dilation`; each residue is cut into `tiles` tiles; transforms take `fast(least)` positions.
    pub(crate) fn new(
        size: usize,
        stride: usize,
        dilation: usize,
        [before, after]: [usize; 2],
        tiles: usize,
        fast: impl Fn(usize) -> usize,
    ) -> Axis {
        let outputs = size.div_ceil(stride);
        let longest = size.div_ceil(dilation);
        let tile = longest.div_ceil(tiles);
        let len = if tile >= longest { longest + before.max(after) } else { tile + before + after };
        let common = gcd(stride, dilation);
        let mut axis = Axis {
            len: fast(len),
            dilation,
            out_step: dilation / common,
            out_stride: stride / common,
            pieces: Vec::new(),
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
                // Outputs j of the residue at transform grid first_at + j out_stride in start..end.
                let j = |bound: usize| bound.saturating_sub(first_at).div_ceil(axis.out_stride).min(count);
                let (low, high) = (j(start), j(end));
                if low == high {
                    // Its inputs may matter to no output at all.
                    axis.disjoint = false;
                    continue;
                }
                axis.pieces.push(Piece {
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
}

/// A way to cut an axis.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    size: usize,
    stride: usize,
    dilation: usize,
    /// How far taps look before and after, in units of `dilation`.
    reach: [usize; 2],
    tiles: usize,
}

impl Way {
    /// The ways to cut an axis of a problem into tiles that are not shorter than what `shortest` says of the
    /// extent of the taps.
    pub(crate) fn all(problem: &ConvProblem, axis: usize, shortest: impl Fn(usize) -> usize) -> Vec<Way> {
        let offsets = || problem.offsets.iter().map(move |o| i64::from(o[axis]));
        let divisor = offsets().fold(0, |g, o| gcd(g, o.unsigned_abs() as usize)).max(1);
        let divisors = if divisor > 1 { vec![1, divisor] } else { vec![1] };
        let (size, stride) = (problem.size[axis], problem.stride[axis]);
        let of = |dilation: usize| {
            let reach =
                |sign: i64| offsets().map(|o| (sign * o).max(0) as usize / dilation).max().unwrap_or(0);
            let reach = [reach(-1), reach(1)];
            let shortest = shortest(reach[0] + reach[1]).max(3);
            let most = size.div_ceil(dilation).div_ceil(shortest).clamp(1, TILES);
            (1..=most).map(move |tiles| Way { size, stride, dilation, reach, tiles })
        };
        divisors.into_iter().flat_map(of).collect()
    }

    /// The axis so cut; transforms take `fast(least)` positions.
    pub(crate) fn forward(&self, fast: impl Fn(usize) -> usize) -> Axis {
        Axis::new(self.size, self.stride, self.dilation, self.reach, self.tiles, fast)
    }

    /// The same for the gradient of the input, which is a convolution of that of the result, spread by the stride, with
    /// taps at the opposite offsets.
    pub(crate) fn back(&self, fast: impl Fn(usize) -> usize) -> Axis {
        let [before, after] = self.reach;
        Axis::new(self.size, 1, self.dilation, [after, before], self.tiles, fast)
    }
}

/// A convolution cut into pieces along both axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) rows: Axis,
    pub(crate) columns: Axis,
}

/// Tiles per axis that are worth a thought.
const TILES: usize = 24;

impl Geometry {
    /// All ways to cut a problem that are worth a comparison.
    pub(crate) fn candidates(problem: &ConvProblem) -> Vec<Geometry> {
        let axes = [0, 1].map(|axis| {
            let mut found: Vec<Axis> = Vec::new();
            // Tiles shorter than the extent of the taps waste most of their transform.
            for way in Way::all(problem, axis, |extent| extent) {
                let fast = |least| if axis == 0 { fast_rows(least) } else { fast_columns(least) };
                let new = way.forward(fast);
                if !found.contains(&new) {
                    found.push(new);
                }
            }
            found
        });
        let [rows, columns] = axes;
        let pairs = rows.iter().flat_map(|r| columns.iter().map(move |c| (r.clone(), c.clone())));
        pairs.map(|(rows, columns)| Geometry { rows, columns }).collect()
    }

    /// One piece per map.
    pub(crate) fn whole(problem: &ConvProblem) -> Geometry {
        let axis = |axis: usize, fast: fn(usize) -> usize| {
            Axis::new(problem.size[axis], problem.stride[axis], 1, [problem.reach()[axis]; 2], 1, fast)
        };
        Geometry { rows: axis(0, fast_rows), columns: axis(1, fast_columns) }
    }

    /// Pieces of a map.
    pub(crate) fn pieces(&self) -> usize {
        self.rows.pieces.len() * self.columns.pieces.len()
    }

    /// Whether every input position belongs to exactly one piece.
    pub(super) fn disjoint(&self) -> bool {
        self.rows.disjoint && self.columns.disjoint
    }
}

/// Relative cost per position of a complex transform of `len`, in passes over the data.
fn cost(len: usize) -> Option<f64> {
    if !lanes::supports(len) {
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
    use crate::TapSet;

    /// Convolves one axis piece by piece with naive circular sums.
    fn by_pieces(axis: &Axis, x: &[f64], taps: &[(i64, f64)], outputs: usize) -> Vec<f64> {
        let mut y = vec![f64::NAN; outputs];
        for piece in &axis.pieces {
            let mut buffer = vec![0.0; axis.len];
            for j in 0..piece.in_len {
                buffer[piece.in_at + j] = x[piece.in_start + axis.dilation * j];
            }
            for j in 0..piece.out_len {
                let at = piece.out_at + axis.out_stride * j;
                let sum = taps.iter().map(|&(o, w)| {
                    let o = o / axis.dilation as i64;
                    w * buffer[(at as i64 + o).rem_euclid(axis.len as i64) as usize]
                });
                y[piece.out_start + axis.out_step * j] = sum.sum();
            }
        }
        y
    }

    #[test]
    fn pieces_together_are_the_whole_convolution() {
        for size in [1, 2, 5, 8, 13, 32] {
            for stride in [1, 2, 3] {
                for (kernel, dilation) in [(1, 1), (3, 1), (3, 2), (5, 3), (7, 4), (9, 15)] {
                    let taps = TapSet::centred(1, kernel, dilation).unwrap();
                    let problem = ConvProblem::new(&taps, 1, 1, 1, 1, [1, size], [1, stride]).unwrap();
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
                    for geometry in Geometry::candidates(&problem) {
                        let y = by_pieces(&geometry.columns, &x, &taps, outputs);
                        assert_eq!(y, expected, "{size} {stride} {kernel} {dilation} {:?}", geometry.columns);
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
