//! Computes real matrix products: the inner loop of the algorithms for layers that mix channels.
//!
//! Every element is one sum that starts from zero, with one fused multiply-add per term in the order of the terms. How rows
//! and vectors are divided into register tiles depends on the instruction set; it does not change any sum.

use crate::simd::Vector;
use pulp::{Simd, WithSimd};

/// The number of vectors of a full panel of the right factor.
const PANEL: usize = 4;

/// The number of rows that are summed at the same time.
const ROWS: usize = 6;

/// How the right factor is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Right {
    /// Panel by panel, divided by [`panels`]; rows within a panel are contiguous.
    Panels,
    /// Row by row, at this distance.
    Rows(usize),
}

/// The panels of a row of `vectors` vectors: first vector and width, the widest first. Products are compiled for each of
/// these widths.
pub(crate) fn panels(vectors: usize) -> impl Iterator<Item = (usize, usize)> {
    let full = vectors / PANEL;
    let rest = vectors % PANEL;
    let pair = (rest >= 2).then_some((full * PANEL, 2));
    let single = (rest % 2 == 1).then(|| (vectors - 1, 1));
    (0..full).map(|i| (i * PANEL, PANEL)).chain(pair).chain(single)
}

/// `out[m] = sum over k of left[m][k] right[k]`, or added to the values that are there. Rows of `right` and `out` are
/// vectors, elements of `left` are read one by one.
pub(crate) struct Product<'a> {
    pub(crate) left: &'a [f32],
    /// The distances of neighbouring m and k.
    pub(crate) left_strides: [usize; 2],
    pub(crate) right: &'a [f32],
    pub(crate) right_as: Right,
    pub(crate) out: &'a mut [f32],
    pub(crate) out_row: usize,
    /// The number of rows, of vectors per row, and of terms of each sum.
    pub(crate) size: [usize; 3],
    pub(crate) add: bool,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let ([m, n, k], lanes) = (self.size, S::F32_LANES);
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let right = match self.right_as {
            Right::Panels => k * n * lanes,
            Right::Rows(row) => (k - 1) * row + n * lanes,
        };
        assert!(
            self.left.len() > (m - 1) * self.left_strides[0] + (k - 1) * self.left_strides[1]
                && self.right.len() >= right
                && self.out.len() >= (m - 1) * self.out_row + n * lanes,
            "matrix outside its buffer"
        );
        for (vector, width) in panels(n) {
            match width {
                PANEL if S::REGISTER_COUNT >= 32 => self.panel::<S, PANEL>(simd, vector, width, 0),
                PANEL => {
                    self.panel::<S, 2>(simd, vector, width, 0);
                    self.panel::<S, 2>(simd, vector, width, 2);
                }
                2 => self.panel::<S, 2>(simd, vector, width, 0),
                _ => self.panel::<S, 1>(simd, vector, width, 0),
            }
        }
    }
}

impl Product<'_> {
    /// `N` vectors, from `part` on, of the panel at `vector` of some `width`.
    #[inline(always)]
    fn panel<S: Simd, const N: usize>(&mut self, simd: S, vector: usize, width: usize, part: usize) {
        let ([m, _, k], lanes) = (self.size, S::F32_LANES);
        let (right, row) = match self.right_as {
            Right::Panels => ((vector * k + part) * lanes, width * lanes),
            Right::Rows(row) => ((vector + part) * lanes, row),
        };
        let mut first = 0;
        while first + ROWS <= m {
            self.tile::<S, ROWS, N>(simd, first, right, row, vector + part);
            first += ROWS;
        }
        match m - first {
            1 => self.tile::<S, 1, N>(simd, first, right, row, vector + part),
            2 => self.tile::<S, 2, N>(simd, first, right, row, vector + part),
            3 => self.tile::<S, 3, N>(simd, first, right, row, vector + part),
            4 => self.tile::<S, 4, N>(simd, first, right, row, vector + part),
            5 => self.tile::<S, 5, N>(simd, first, right, row, vector + part),
            _ => {}
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        first: usize,
        right: usize,
        right_row: usize,
        vector: usize,
    ) {
        let (lanes, [row, term]) = (S::F32_LANES, self.left_strides);
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        let mut left = self.left.as_ptr().wrapping_add(first * row);
        let mut right = self.right.as_ptr().wrapping_add(right);
        for _ in 0..self.size[2] {
            // SAFETY: all operands are inside their buffers by the assertion in `with_simd`.
            #[allow(unsafe_code)]
            unsafe {
                let mut b = [simd.splat_f32s(0.0); N];
                for j in 0..N {
                    b[j] = right.add(j * lanes).cast::<Vector<S>>().read();
                }
                for i in 0..M {
                    let a = simd.splat_f32s(*left.add(i * row));
                    for j in 0..N {
                        sums[i][j] = simd.mul_add_f32s(a, b[j], sums[i][j]);
                    }
                }
            }
            left = left.wrapping_add(term);
            right = right.wrapping_add(right_row);
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                // SAFETY: inside `out` by the same assertion.
                #[allow(unsafe_code)]
                unsafe {
                    let to = self.out.as_mut_ptr().add((first + i) * self.out_row + (vector + j) * lanes);
                    let to = to.cast::<Vector<S>>();
                    to.write(if self.add { simd.add_f32s(to.read(), *sum) } else { *sum });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{buffer::Buffer, simd};
    use pulp::Arch;

    fn filled(len: usize, salt: usize) -> Buffer {
        let mut buffer = Buffer::scratch(len);
        buffer.iter_mut().enumerate().for_each(|(i, v)| *v = ((i * 7 + salt) % 13) as f32 - 6.0);
        buffer
    }

    #[test]
    fn panels_cover_all_vectors() {
        for vectors in 0..20 {
            let found: Vec<usize> = panels(vectors).flat_map(|(first, width)| first..first + width).collect();
            assert_eq!(found, (0..vectors).collect::<Vec<_>>());
        }
    }

    #[test]
    fn products_of_all_remainders() {
        let arch = Arch::new();
        let lanes = simd::register(arch);
        for (m, n, k) in [(1, 1, 1), (7, 3, 5), (12, 4, 9), (5, 7, 2), (14, 6, 3), (6, 5, 8)] {
            let (row, out_row) = (n * lanes + lanes, n * lanes);
            for strides in [[k + 1, 1], [1, m + 2]] {
                let left = filled((m - 1) * strides[0] + (k - 1) * strides[1] + 1, 1);
                let right = filled(k * row, 2);
                let mut packed = Buffer::scratch(k * n * lanes);
                for (vector, width) in panels(n) {
                    for i in 0..k {
                        let to = (vector * k + i * width) * lanes;
                        let from = i * row + vector * lanes;
                        packed[to..to + width * lanes].copy_from_slice(&right[from..from + width * lanes]);
                    }
                }
                for (right_as, right_of) in [(Right::Rows(row), &right), (Right::Panels, &packed)] {
                    let mut out = Buffer::scratch(m * out_row);
                    for (add, times) in [(false, 1.0), (true, 2.0)] {
                        arch.dispatch(Product {
                            left: &left,
                            left_strides: strides,
                            right: right_of,
                            right_as,
                            out: &mut out,
                            out_row,
                            size: [m, n, k],
                            add,
                        });
                        for i in 0..m {
                            for j in 0..n * lanes {
                                let term = |t| left[i * strides[0] + t * strides[1]] * right[t * row + j];
                                let expected: f32 = (0..k).map(term).sum();
                                assert_eq!(out[i * out_row + j], times * expected, "{m} {n} {k} {i} {j}");
                            }
                        }
                    }
                }
            }
        }
    }
}
