//! Transposes rows of eight planes into eight neighbouring lanes, and back.

use crate::simd;

/// The number of lanes and positions that are transposed at a time.
pub(crate) const BLOCK: usize = 8;

/// Copies the first positions of eight rows of length `len` into lanes: `out[position * lanes + row]`.
/// Returns the number of positions that were copied; the caller copies the rest.
pub(crate) fn into_lanes(rows: &[&[f32]; BLOCK], out: &mut [f32], lanes: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    if simd::has_avx() {
        let len = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        if len < BLOCK {
            return 0;
        }
        assert!(out.len() >= (len - 1) * lanes + BLOCK, "lanes of a row");
        // SAFETY: the instruction set was detected, and positions up to `len` exist on both sides.
        #[allow(unsafe_code)]
        unsafe {
            x86::into_lanes(rows.map(<[f32]>::as_ptr), out.as_mut_ptr(), lanes, len);
        }
        return len;
    }
    let _ = (rows, out, lanes);
    0
}

/// Copies `count` rows of the same length into neighbouring lanes: `out[position * lanes + row]`.
pub(crate) fn rows_into_lanes<'a>(
    count: usize,
    row: impl Fn(usize) -> &'a [f32],
    out: &mut [f32],
    lanes: usize,
) {
    for first in (0..count).step_by(BLOCK) {
        let block = BLOCK.min(count - first);
        let done = if block == BLOCK {
            let rows = std::array::from_fn(|i| row(first + i));
            into_lanes(&rows, &mut out[first..], lanes)
        } else {
            0
        };
        for lane in first..first + block {
            let to = out[lane..].iter_mut().step_by(lanes).skip(done);
            to.zip(&row(lane)[done..]).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The inverse of [`into_lanes`]: writes the values in lanes plus `bias`, or with `add` adds them to the rows.
pub(crate) fn from_lanes(
    lanes_of: &[f32],
    lanes: usize,
    rows: &mut [&mut [f32]; BLOCK],
    bias: [f32; BLOCK],
    add: bool,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if simd::has_avx() {
        let len = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        if len < BLOCK {
            return 0;
        }
        assert!(lanes_of.len() >= (len - 1) * lanes + BLOCK, "lanes of a row");
        // The last block may overlap the one before it, unless sums would be added twice.
        let len = if add { len / BLOCK * BLOCK } else { len };
        let to = std::array::from_fn(|i| rows[i].as_mut_ptr());
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            if add {
                x86::from_lanes::<true>(lanes_of.as_ptr(), lanes, to, bias, len);
            } else {
                x86::from_lanes::<false>(lanes_of.as_ptr(), lanes, to, bias, len);
            }
        }
        return len;
    }
    let _ = (lanes_of, lanes, rows, bias, add);
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(unsafe_code, reason = "instructions of one architecture")]
    use super::BLOCK;
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX must be available, and each pointer valid for reads of eight elements.
    #[inline]
    #[target_feature(enable = "avx")]
    unsafe fn columns(from: [*const f32; BLOCK]) -> [__m256; BLOCK] {
        // SAFETY: guaranteed by the caller.
        let r = from.map(|p| unsafe { _mm256_loadu_ps(p) });
        let mut pairs = r;
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let mut quads = pairs;
        for i in 0..2 {
            let p = &pairs[4 * i..];
            quads[4 * i] = _mm256_shuffle_ps::<0x44>(p[0], p[2]);
            quads[4 * i + 1] = _mm256_shuffle_ps::<0xee>(p[0], p[2]);
            quads[4 * i + 2] = _mm256_shuffle_ps::<0x44>(p[1], p[3]);
            quads[4 * i + 3] = _mm256_shuffle_ps::<0xee>(p[1], p[3]);
        }
        let mut columns = quads;
        for i in 0..4 {
            columns[i] = _mm256_permute2f128_ps::<0x20>(quads[i], quads[i + 4]);
            columns[i + 4] = _mm256_permute2f128_ps::<0x31>(quads[i], quads[i + 4]);
        }
        columns
    }

    /// The first positions of the blocks. The last block may overlap the one before it, which writes the same values.
    fn blocks(len: usize) -> impl Iterator<Item = usize> {
        (0..len).step_by(BLOCK).map(move |at| at.min(len - BLOCK))
    }

    /// `to[i * lanes + j] = from[j][i]` for all `i` below `len`.
    ///
    /// # Safety
    /// AVX must be available, `len` at least [`BLOCK`], and all of these elements valid for reads and writes.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn into_lanes(from: [*const f32; BLOCK], to: *mut f32, lanes: usize, len: usize) {
        for at in blocks(len) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let columns = columns(from.map(|p| p.add(at)));
                for (i, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(to.add((at + i) * lanes), column);
                }
            }
        }
    }

    /// `to[j][i] = from[i * lanes + j] + bias[j]` for all `i` below `len`, or with `ADD` adds to `to`, without bias.
    ///
    /// # Safety
    /// AVX must be available, `len` at least [`BLOCK`] and with `ADD` a multiple of it, and all of these elements valid for
    /// reads and writes.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn from_lanes<const ADD: bool>(
        from: *const f32,
        lanes: usize,
        to: [*mut f32; BLOCK],
        bias: [f32; BLOCK],
        len: usize,
    ) {
        for at in blocks(len) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let mut rows = [from; BLOCK];
                for (i, row) in rows.iter_mut().enumerate() {
                    *row = from.add((at + i) * lanes);
                }
                for ((column, to), bias) in columns(rows).into_iter().zip(to).zip(bias) {
                    let to = to.add(at);
                    let more = if ADD { _mm256_loadu_ps(to) } else { _mm256_set1_ps(bias) };
                    _mm256_storeu_ps(to, _mm256_add_ps(column, more));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_way_to_lanes_and_back() {
        let (len, lanes) = (21, 16);
        let rows: Vec<Vec<f32>> =
            (0..BLOCK).map(|r| (0..len).map(|i| (100 * r + i) as f32).collect()).collect();
        let sources: [&[f32]; BLOCK] = std::array::from_fn(|i| rows[i].as_slice());
        let mut out = vec![-1.0; len * lanes];
        let done = into_lanes(&sources, &mut out[3..], lanes);
        for position in 0..done {
            for r in 0..BLOCK {
                assert_eq!(out[3 + position * lanes + r], rows[r][position]);
            }
        }
        for (add, bias) in [(false, 0.5), (true, 0.0)] {
            let mut back = vec![vec![7.0; len]; BLOCK];
            let mut parts = back.iter_mut();
            let mut to: [&mut [f32]; BLOCK] = std::array::from_fn(|_| parts.next().unwrap().as_mut_slice());
            let done = from_lanes(&out[3..], lanes, &mut to, [bias; BLOCK], add);
            for (r, back) in back.iter().enumerate() {
                for position in 0..done {
                    let expected = rows[r][position] + if add { 7.0 } else { 0.5 };
                    assert_eq!(back[position], expected);
                }
            }
        }
    }
}
