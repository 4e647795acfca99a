//! Computes complex matrix products of spectra, one per frequency bin: the inner loop of layers that mix channels.

use crate::simd::{LANES, Vector, parts};
use pulp::{Simd, WithSimd};

/// Which factor is conjugated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conjugate {
    Neither,
    Left,
    Right,
}

/// `out[m] = sum over k of left[m][k] right[k]`, where the [`LANES`] lanes are the columns of `right` and `out`.
///
/// Elements of `left` are read one by one: the real part of (m, k) is at `left_rows[m] + left_columns[k]`, its imaginary
/// part [`LANES`] further. Rows of `right` and of `out` are complex numbers of all lanes at distances `right_row` and
/// `out_row`.
pub(super) struct Product<'a> {
    pub(super) left: &'a [f32],
    pub(super) left_rows: &'a [usize],
    pub(super) left_columns: &'a [usize],
    pub(super) right: &'a [f32],
    pub(super) right_row: usize,
    pub(super) out: &'a mut [f32],
    pub(super) out_row: usize,
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
        let (m, k, step) = (self.left_rows.len(), self.left_columns.len(), 2 * LANES);
        let last = |table: &[usize]| table.iter().max().copied().unwrap_or(0);
        assert!(
            m > 0
                && k > 0
                && self.left.len() > last(self.left_rows) + last(self.left_columns) + LANES
                && self.right.len() >= (k - 1) * self.right_row + step
                && self.out.len() >= (m - 1) * self.out_row + step,
            "matrix outside its buffer"
        );
        for register in 0..parts::<S>() {
            let mut first = 0;
            // Eight rows at a time need the registers of a wide instruction set.
            while S::REGISTER_COUNT >= 32 && first + 8 <= m {
                self.tile::<S, 8, ADD, RIGHT>(simd, first, register);
                first += 8;
            }
            while first + 4 <= m {
                self.tile::<S, 4, ADD, RIGHT>(simd, first, register);
                first += 4;
            }
            match m - first {
                1 => self.tile::<S, 1, ADD, RIGHT>(simd, first, register),
                2 => self.tile::<S, 2, ADD, RIGHT>(simd, first, register),
                3 => self.tile::<S, 3, ADD, RIGHT>(simd, first, register),
                _ => {}
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const ADD: bool, const RIGHT: bool>(
        &mut self,
        simd: S,
        first: usize,
        register: usize,
    ) {
        let offset = register * S::F32_LANES;
        let zero = simd.splat_f32s(0.0);
        let (mut re, mut im) = ([zero; M], [zero; M]);
        let mut rows = [std::ptr::null::<f32>(); M];
        for (i, pointer) in rows.iter_mut().enumerate() {
            *pointer = self.left.as_ptr().wrapping_add(self.left_rows[first + i]);
        }
        let mut right = self.right.as_ptr().wrapping_add(offset);
        for &column in self.left_columns {
            // SAFETY: all operands are inside their buffers by the assertion in `run`.
            #[allow(unsafe_code)]
            unsafe {
                let (br, bi) =
                    (right.cast::<Vector<S>>().read(), right.add(LANES).cast::<Vector<S>>().read());
                for i in 0..M {
                    let at = rows[i].add(column);
                    let (ar, ai) = (simd.splat_f32s(*at), simd.splat_f32s(*at.add(LANES)));
                    re[i] = simd.mul_add_f32s(ar, br, re[i]);
                    if ADD {
                        re[i] = simd.mul_add_f32s(ai, bi, re[i]);
                    } else {
                        re[i] = simd.negate_mul_add_f32s(ai, bi, re[i]);
                    }
                    if RIGHT {
                        im[i] = simd.mul_add_f32s(ai, br, im[i]);
                        im[i] = simd.negate_mul_add_f32s(ar, bi, im[i]);
                    } else if ADD {
                        im[i] = simd.mul_add_f32s(ar, bi, im[i]);
                        im[i] = simd.negate_mul_add_f32s(ai, br, im[i]);
                    } else {
                        im[i] = simd.mul_add_f32s(ar, bi, im[i]);
                        im[i] = simd.mul_add_f32s(ai, br, im[i]);
                    }
                }
                right = right.wrapping_add(self.right_row);
            }
        }
        for i in 0..M {
            // SAFETY: inside `out` by the assertion in `run`.
            #[allow(unsafe_code)]
            unsafe {
                let to = self.out.as_mut_ptr().add((first + i) * self.out_row + offset);
                to.cast::<Vector<S>>().write(re[i]);
                to.add(LANES).cast::<Vector<S>>().write(im[i]);
            }
        }
    }
}
