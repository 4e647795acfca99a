//! Complex matrix products of spectra, one per frequency: the inner loop of layers that mix channels.

use super::lanes::Vector;
use pulp::{Simd, WithSimd};

/// Which factor is conjugated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conjugate {
    Neither,
    Left,
    Right,
}

/// `out[m][n] = sum over k of left[m][k] right[k][n]`, where n runs over lanes.
///
/// Numbers of `left` are read one by one: the real part of (m, k) is at `left_rows[m] +
/// left_columns[k]`, its imaginary part one vector further. `right` and `out` are rows of groups
/// `[re, im][lane]`.
pub(super) struct Product<'a> {
    pub(super) left: &'a [f32],
    pub(super) left_rows: &'a [usize],
    pub(super) left_columns: &'a [usize],
    pub(super) right: &'a [f32],
    pub(super) out: &'a mut [f32],
    /// Groups of lanes per row of `right` and of `out`.
    pub(super) groups: usize,
    pub(super) conjugate: Conjugate,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match self.conjugate {
            Conjugate::Neither => self.run::<S, false, false>(simd),
            Conjugate::Left => self.run::<S, true, false>(simd),
            Conjugate::Right => self.run::<S, true, true>(simd),
        }
    }
}

impl Product<'_> {
    /// `ADD`: the real part is a sum instead of a difference, the imaginary part a difference;
    /// `RIGHT`: and its sign is that of a conjugate right factor.
    #[inline(always)]
    fn run<S: Simd, const ADD: bool, const RIGHT: bool>(&mut self, simd: S) {
        let lanes = S::F32_LANES;
        let (m, k, row) = (self.left_rows.len(), self.left_columns.len(), self.groups * 2 * lanes);
        let last = |table: &[usize]| table.iter().max().copied().unwrap_or(0);
        assert!(
            self.left.len() > last(self.left_rows) + last(self.left_columns) + lanes
                && self.right.len() >= k * row
                && self.out.len() >= m * row,
            "matrix outside its buffer"
        );
        // Two groups at a time need the registers of a wide instruction set.
        let pairs = if S::REGISTER_COUNT >= 32 { self.groups / 2 } else { 0 };
        for pair in 0..pairs {
            self.columns::<S, 2, ADD, RIGHT>(simd, 2 * pair);
        }
        for group in 2 * pairs..self.groups {
            self.columns::<S, 1, ADD, RIGHT>(simd, group);
        }
    }

    #[inline(always)]
    fn columns<S: Simd, const N: usize, const ADD: bool, const RIGHT: bool>(&mut self, simd: S, group: usize) {
        let m = self.left_rows.len();
        let mut first = 0;
        while first + 4 <= m {
            self.tile::<S, 4, N, ADD, RIGHT>(simd, first, group);
            first += 4;
        }
        match m - first {
            1 => self.tile::<S, 1, N, ADD, RIGHT>(simd, first, group),
            2 => self.tile::<S, 2, N, ADD, RIGHT>(simd, first, group),
            3 => self.tile::<S, 3, N, ADD, RIGHT>(simd, first, group),
            _ => {}
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize, const ADD: bool, const RIGHT: bool>(
        &mut self,
        simd: S,
        first: usize,
        group: usize,
    ) {
        let (lanes, row) = (S::F32_LANES, self.groups * 2 * S::F32_LANES);
        let zero = simd.splat_f32s(0.0);
        let mut re = [[zero; N]; M];
        let mut im = [[zero; N]; M];
        let mut rows = [std::ptr::null::<f32>(); M];
        for (i, pointer) in rows.iter_mut().enumerate() {
            *pointer = self.left.as_ptr().wrapping_add(self.left_rows[first + i]);
        }
        let mut right = self.right.as_ptr().wrapping_add(group * 2 * lanes).cast::<Vector<S>>();
        for &column in self.left_columns {
            // SAFETY: all operands are inside their buffers by the assertion in `run`.
            #[allow(unsafe_code)]
            unsafe {
                let mut b = [[zero; 2]; N];
                for (j, b) in b.iter_mut().enumerate() {
                    *b = [right.add(2 * j).read(), right.add(2 * j + 1).read()];
                }
                for i in 0..M {
                    let at = rows[i].add(column);
                    let (ar, ai) = (simd.splat_f32s(*at), simd.splat_f32s(*at.add(lanes)));
                    for j in 0..N {
                        let [br, bi] = b[j];
                        re[i][j] = simd.mul_add_f32s(ar, br, re[i][j]);
                        if ADD {
                            re[i][j] = simd.mul_add_f32s(ai, bi, re[i][j]);
                        } else {
                            re[i][j] = simd.negate_mul_add_f32s(ai, bi, re[i][j]);
                        }
                        if RIGHT {
                            im[i][j] = simd.mul_add_f32s(ai, br, im[i][j]);
                            im[i][j] = simd.negate_mul_add_f32s(ar, bi, im[i][j]);
                        } else if ADD {
                            im[i][j] = simd.mul_add_f32s(ar, bi, im[i][j]);
                            im[i][j] = simd.negate_mul_add_f32s(ai, br, im[i][j]);
                        } else {
                            im[i][j] = simd.mul_add_f32s(ar, bi, im[i][j]);
                            im[i][j] = simd.mul_add_f32s(ai, br, im[i][j]);
                        }
                    }
                }
                right = right.byte_add(row * size_of::<f32>());
            }
        }
        for i in 0..M {
            for j in 0..N {
                let at = (first + i) * row + (group + j) * 2 * lanes;
                // SAFETY: inside `out` by the assertion in `run`.
                #[allow(unsafe_code)]
                unsafe {
                    let to = self.out.as_mut_ptr().add(at).cast::<Vector<S>>();
                    to.write(re[i][j]);
                    to.add(1).write(im[i][j]);
                }
            }
        }
    }
}
