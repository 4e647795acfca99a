//! What the kernels in explicit vectors share.

use pulp::{Arch, Simd, WithSimd};

/// The vectors of an instruction set.
pub(crate) type Vector<S> = <S as Simd>::f32s;

struct Lanes;

impl WithSimd for Lanes {
    type Output = (usize, bool);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, bool) {
        (S::F32_LANES, S::REGISTER_COUNT >= 32)
    }
}

/// Numbers per vector, and whether there are registers for large tiles.
pub(crate) fn lanes(arch: Arch) -> (usize, bool) {
    arch.dispatch(Lanes)
}
