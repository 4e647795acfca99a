//! Tap sets list the offsets at which a kernel has weights.

use crate::Error;

/// The sorted distinct offsets of a kernel, in one or two spatial axes.
///
/// Offsets are `[row, column]`; with one axis the row is always 0. They are sorted by row, then by
/// column, which for a single kernel is the row-major order of its weights.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TapSet {
    dims: usize,
    offsets: Vec<[i32; 2]>,
}

/// The largest kernel extent: offsets beyond it are a mistake and would overflow index arithmetic.
const LIMIT: i64 = 1 << 24;

/// The offsets of one axis, checked against the limit.
fn axis(kernel_size: usize, dilation: usize, first: i64) -> Result<Vec<i32>, Error> {
    let extent = (kernel_size as u64).saturating_mul(dilation as u64);
    if extent > LIMIT as u64 {
        return Err(Error::Offset(i64::try_from(extent).unwrap_or(i64::MAX)));
    }
    Ok((0..kernel_size as i64).map(|j| (first + j * dilation as i64) as i32).collect())
}

impl TapSet {
    /// The taps of a centred kernel: `kernel_size` per axis, `dilation` apart.
    ///
    /// # Errors
    /// If `dims` is not 1 or 2, `kernel_size` is even or zero, or `dilation` is zero.
    pub fn centred(dims: usize, kernel_size: usize, dilation: usize) -> Result<TapSet, Error> {
        if kernel_size.is_multiple_of(2) {
            return Err(Error::KernelSize(kernel_size));
        }
        if dilation == 0 {
            return Err(Error::Zero { what: "dilation" });
        }
        let extent = (kernel_size as u64 / 2).saturating_mul(dilation as u64).min(LIMIT as u64 + 1);
        let axis = axis(kernel_size, dilation, -(extent as i64))?;
        let offsets = match dims {
            1 => axis.iter().map(|&c| [0, c]).collect(),
            2 => axis.iter().flat_map(|&r| axis.iter().map(move |&c| [r, c])).collect(),
            _ => return Err(Error::Dimensions(dims)),
        };
        Ok(TapSet { dims, offsets })
    }

    /// The taps of a causal 1-D kernel: the last tap is at the current position, the others at earlier ones.
    ///
    /// # Errors
    /// If `kernel_size` or `dilation` is zero.
    pub fn causal(kernel_size: usize, dilation: usize) -> Result<TapSet, Error> {
        if kernel_size == 0 {
            return Err(Error::NoTaps);
        }
        if dilation == 0 {
            return Err(Error::Zero { what: "dilation" });
        }
        let extent = (kernel_size as u64 - 1).saturating_mul(dilation as u64).min(LIMIT as u64 + 1);
        let offsets = axis(kernel_size, dilation, -(extent as i64))?.into_iter().map(|c| [0, c]).collect();
        Ok(TapSet { dims: 1, offsets })
    }

    /// The union of several tap sets, and for each of them the indices of its taps in the union.
    ///
    /// # Errors
    /// If there is no set, or their numbers of axes differ.
    pub fn union(sets: &[TapSet]) -> Result<(TapSet, Vec<Vec<usize>>), Error> {
        let Some(first) = sets.first() else {
            return Err(Error::NoTaps);
        };
        if let Some(other) = sets.iter().find(|s| s.dims != first.dims) {
            return Err(Error::Dimensions(other.dims));
        }
        let mut offsets: Vec<[i32; 2]> = sets.iter().flat_map(|s| s.offsets.iter().copied()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let tap_indices = sets
            .iter()
            .map(|set| set.offsets.iter().filter_map(|o| offsets.binary_search(o).ok()).collect())
            .collect();
        Ok((TapSet { dims: first.dims, offsets }, tap_indices))
    }

    /// The number of spatial axes.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// The number of taps.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Always false: a tap set has at least one tap.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The offsets, `[row, column]`.
    pub fn offsets(&self) -> &[[i32; 2]] {
        &self.offsets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_space(dims: usize, kernel_sizes: &[usize], dilations: &[usize]) -> Vec<TapSet> {
        kernel_sizes
            .iter()
            .flat_map(|&k| dilations.iter().map(move |&d| TapSet::centred(dims, k, d).unwrap()))
            .collect()
    }

    #[test]
    fn the_unions_of_the_search_spaces_have_the_counted_taps() {
        // Counts by enumeration in Python: {(d*i, d*j) for k, d in space ...}.
        let d = [1, 3, 7, 15];
        let count = |dims, k: &[usize], d: &[usize]| {
            let sets = default_space(dims, k, d);
            (sets.iter().map(TapSet::len).sum::<usize>(), TapSet::union(&sets).unwrap().0.len())
        };
        assert_eq!(count(2, &[3, 5, 7, 9], &d), (656, 313));
        assert_eq!(count(2, &[3, 5, 7], &[1, 3, 7]), (249, 137));
        assert_eq!(count(1, &[3, 7, 11, 15, 19], &d), (220, 61));
    }

    #[test]
    fn a_union_contains_every_tap_of_every_set() {
        let sets = default_space(2, &[3, 5], &[1, 2, 5]);
        let (union, tap_indices) = TapSet::union(&sets).unwrap();
        for (set, tap_indices) in sets.iter().zip(tap_indices) {
            let seen: Vec<_> = tap_indices.iter().map(|&p| union.offsets()[p]).collect();
            assert_eq!(seen, set.offsets());
        }
    }

    #[test]
    fn a_causal_kernel_ends_at_the_current_position() {
        assert_eq!(TapSet::causal(3, 4).unwrap().offsets(), [[0, -8], [0, -4], [0, 0]]);
    }

    #[test]
    fn impossible_kernels_are_refused() {
        assert_eq!(TapSet::centred(2, 4, 1), Err(Error::KernelSize(4)));
        assert_eq!(TapSet::centred(2, 0, 1), Err(Error::KernelSize(0)));
        assert_eq!(TapSet::centred(3, 3, 1), Err(Error::Dimensions(3)));
        assert_eq!(TapSet::causal(3, 0), Err(Error::Zero { what: "dilation" }));
        assert!(matches!(TapSet::centred(1, 3, usize::MAX), Err(Error::Offset(_))));
        assert!(matches!(TapSet::causal(usize::MAX, usize::MAX), Err(Error::Offset(_))));
        assert_eq!(TapSet::union(&[]), Err(Error::NoTaps));
    }
}
