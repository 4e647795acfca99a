//! Defines the two-dimensional real transform of one size, and the layout between its axes.
//!
//! Columns are transformed first (real to complex), then rows (complex). Between the axes, elements are stored so that
//! the rows can be transformed for a few column bins at a time, and the full spectra of large layers never exist at once:
//!
//! ```text
//! column bin 0                                            column bin 1
//! | batch 0              | batch 1              | .. pad | batch 0  ..
//! | row 0 | row 1 | ..   | row 0 | row 1 | ..   |
//!   '-- LANES real parts, then LANES imaginary parts: the complex stride
//! '--------------- intermediate pitch ------------------'
//! ```

use super::batched_fft::{ComplexFft, RealFft};
use crate::{
    Error,
    buffer::{Buffer, pad_for_cache},
    planes::PlaneSource,
    simd::{LANES, Vector},
};
use pulp::{Arch, Simd};

/// The number of elements that a complex number of all lanes takes: real parts, then imaginary parts.
pub(super) const COMPLEX_STRIDE: usize = 2 * LANES;

/// The layout of transformed rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowLayout {
    /// Between the axes, see above.
    Intermediate,
    /// Spectra `[column bin][planes]`: of transforms of a single row, which are complete.
    Spectra,
}

/// The transform of one size.
pub(super) struct Transform {
    pub(super) arch: Arch,
    /// Transform rows and columns.
    pub(super) size: [usize; 2],
    pub(super) rows: ComplexFft,
    pub(super) columns: RealFft,
}

/// The two buffers of one thread that a transform goes back and forth between.
pub(super) struct Work {
    pub(super) a: Buffer,
    pub(super) b: Buffer,
}

impl Work {
    /// Both buffers as vectors.
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&mut self) -> (&mut [Vector<S>], &mut [Vector<S>]) {
        (S::as_mut_simd_f32s(&mut self.a).0, S::as_mut_simd_f32s(&mut self.b).0)
    }
}

impl Transform {
    /// The transform of `size` rows and columns.
    ///
    /// # Errors
    /// [`Error::TransformLength`] if a length is not supported.
    pub(super) fn new(size: [usize; 2], arch: Arch) -> Result<Transform, Error> {
        let unsupported = |axis: usize| Error::TransformLength(size[axis]);
        Ok(Transform {
            arch,
            size,
            rows: ComplexFft::new(size[0]).ok_or_else(|| unsupported(0))?,
            columns: RealFft::new(size[1]).ok_or_else(|| unsupported(1))?,
        })
    }

    /// The number of column bins: half a spectrum, since the data are real.
    pub(super) fn bins(&self) -> usize {
        self.columns.bins()
    }

    /// Buffers for one thread.
    pub(super) fn work(&self) -> Work {
        let len = LANES * (2 * self.size[0]).max(self.size[1] + 2);
        Work { a: Buffer::scratch(len), b: Buffer::zeroed(len) }
    }

    /// The distance of neighbouring column bins between the axes, in elements.
    pub(super) fn intermediate_pitch(&self, source: &impl PlaneSource) -> usize {
        pad_for_cache(source.batches() * source.live()) * COMPLEX_STRIDE
    }

    /// The distance of neighbouring column bins in `layout`, in elements.
    pub(super) fn row_pitch(&self, source: &impl PlaneSource, layout: RowLayout) -> usize {
        match layout {
            RowLayout::Intermediate => self.intermediate_pitch(source),
            RowLayout::Spectra => source.planes().pitch(),
        }
    }

    /// The number of elements between the axes, for all column bins.
    pub(super) fn intermediate_len(&self, source: &impl PlaneSource) -> usize {
        self.bins() * self.intermediate_pitch(source)
    }
}
