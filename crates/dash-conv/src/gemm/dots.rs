//! Computes dot products over positions, with positions in lanes: for so few outputs that channels would leave most lanes
//! empty.

use crate::simd::{LANES, Lanes, WithLanes};
use pulp::Simd;

/// For each pair of a left and a right line, adds the products of their positions to the sum of the position's lane.
pub(super) struct Dots<'a> {
    /// The left lines, `left_row` elements apart.
    pub(super) left: &'a [f32],
    pub(super) left_row: usize,
    /// The right lines, `right_row` elements apart.
    pub(super) right: &'a [f32],
    pub(super) right_row: usize,
    /// The number of left lines and of right lines, and their length.
    pub(super) size: [usize; 3],
    /// `[left][right][lane]`.
    pub(super) sums: &'a mut [f32],
    /// Whether to add to the sums that are there, or to start from zero.
    pub(super) add: bool,
}

impl WithLanes for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd, const P: usize>(mut self, simd: S) {
        let [lefts, rights, _] = self.size;
        // As many sums at a time as there are registers for. Loops, not iterators: what is not inlined by force does not get
        // the instruction set.
        let mut left = 0;
        while P == 1 && left + 4 <= lefts {
            self.lines::<S, P, 4>(simd, left, rights);
            left += 4;
        }
        while left < lefts {
            self.lines::<S, P, 1>(simd, left, rights);
            left += 1;
        }
    }
}

impl Dots<'_> {
    /// `M` left lines with all right lines.
    #[inline(always)]
    fn lines<S: Simd, const P: usize, const M: usize>(&mut self, simd: S, left: usize, rights: usize) {
        let mut right = 0;
        while right + 4 <= rights {
            self.tile::<S, P, M, 4>(simd, left, right);
            right += 4;
        }
        while right + 2 <= rights {
            self.tile::<S, P, M, 2>(simd, left, right);
            right += 2;
        }
        if right < rights {
            self.tile::<S, P, M, 1>(simd, left, right);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        left: usize,
        right: usize,
    ) {
        let [_, rights, len] = self.size;
        let mut lefts = [(&[] as &[[f32; LANES]], &[] as &[f32]); M];
        for (i, line) in lefts.iter_mut().enumerate() {
            *line = self.left[(left + i) * self.left_row..][..len].as_chunks();
        }
        let mut others = [(&[] as &[[f32; LANES]], &[] as &[f32]); N];
        for (j, line) in others.iter_mut().enumerate() {
            *line = self.right[(right + j) * self.right_row..][..len].as_chunks();
        }
        let mut sums = [[Lanes::<S, P>::splat(simd, 0.0); N]; M];
        if self.add {
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = Lanes::load(&self.sums[((left + i) * rights + right + j) * LANES..][..LANES]);
                }
            }
        }
        for at in 0..len / LANES {
            let mut values = [Lanes::<S, P>::splat(simd, 0.0); N];
            for (value, line) in values.iter_mut().zip(&others) {
                *value = Lanes::load(&line.0[at]);
            }
            for (sums, line) in sums.iter_mut().zip(&lefts) {
                let factor = Lanes::load(&line.0[at]);
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = sum.add_product(simd, factor, value);
                }
            }
        }
        if !len.is_multiple_of(LANES) {
            for (sums, line) in sums.iter_mut().zip(&lefts) {
                let factor = Lanes::load_part(simd, line.1);
                for (sum, line) in sums.iter_mut().zip(&others) {
                    *sum = sum.add_product(simd, factor, Lanes::load_part(simd, line.1));
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                sum.store(&mut self.sums[((left + i) * rights + right + j) * LANES..][..LANES]);
            }
        }
    }
}

/// The sum over lanes, as [`Lanes::sum`] forms it.
pub(super) fn over_lanes(lanes: &[f32]) -> f32 {
    let mut values = [0.0; LANES];
    values.copy_from_slice(lanes);
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            values[lane] += values[lane + half];
        }
        half /= 2;
    }
    values[0]
}
