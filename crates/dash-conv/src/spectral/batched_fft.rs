//! Fourier transforms of many sequences at the same time, one sequence per vector lane.
//!
//! ```text
//! real buffer       [position][lane]                 LANES elements per position
//! complex buffer    [position][re, im][lane]         2 LANES elements per position
//! ```
//!
//! Every lane goes through the same arithmetic: nothing is ever shuffled, twiddle factors are scalars, and registers of any
//! width, which hold all lanes or a part of them, give the same bits. The algorithm is Stockham's (self-sorting, between two
//! buffers) with radices 2, 3, 4, 5 and 8; see Van Loan, Computational Frameworks for the FFT, section 1.7.

use crate::simd::{Vector, parts};
use pulp::Simd;
use std::f64::consts::TAU;

/// One register of a complex number per lane: real parts, imaginary parts.
pub(super) type Complex<S> = [Vector<S>; 2];

/// The complex transform of one length.
pub(super) struct ComplexFft {
    len: usize,
    passes: Vec<Pass>,
}

/// One pass of Stockham's algorithm: `stride` interleaved sequences of `radix * parts` elements.
struct Pass {
    radix: usize,
    parts: usize,
    stride: usize,
    /// `exp(-2 pi i p k / (radix parts))` for `k` in `1..radix`, for each `p` in `1..parts`.
    twiddles: Vec<[f32; 2]>,
}

fn unit(numerator: usize, denominator: usize) -> [f32; 2] {
    let angle = TAU * (numerator % denominator) as f64 / denominator as f64;
    [libm::cos(angle) as f32, -libm::sin(angle) as f32]
}

/// The radices of a transform of length `len`, or `None` if it has a prime factor above 5. The same for all
/// instruction sets: other radices round differently.
fn radices(len: usize) -> Option<Vec<usize>> {
    let mut rest = len;
    let mut found = Vec::new();
    for radix in [5, 3] {
        while rest.is_multiple_of(radix) {
            found.push(radix);
            rest /= radix;
        }
    }
    if !rest.is_power_of_two() {
        return None;
    }
    let mut twos = rest.trailing_zeros();
    while twos > 0 {
        // 16 = 4 * 4, 32 = 4 * 8: never a pass of radix 2 next to one of radix 8.
        let bits = match twos {
            1 | 2 => twos,
            4 => 2,
            _ => 3,
        };
        found.push(1 << bits);
        twos -= bits;
    }
    Some(found)
}

/// Whether there is a transform of this length.
pub(super) fn supports(len: usize) -> bool {
    radices(len).is_some()
}

impl ComplexFft {
    /// The transform of `len` positions, or `None` for an unsupported length.
    pub(super) fn new(len: usize) -> Option<ComplexFft> {
        let mut passes = Vec::new();
        let (mut current, mut stride) = (len, 1);
        for radix in radices(len)? {
            let parts = current / radix;
            let twiddles = (1..parts).flat_map(|p| (1..radix).map(move |k| unit(p * k, current))).collect();
            passes.push(Pass { radix, parts, stride, twiddles });
            current = parts;
            stride *= radix;
        }
        Some(ComplexFft { len, passes })
    }

    /// Transforms the first `len` complex positions of `data`, using as many of `other`; returns whether the
    /// result is in `other`. Unscaled; `INVERSE` conjugates the kernel.
    #[inline(always)]
    pub(super) fn run<S: Simd, const INVERSE: bool>(
        &self,
        simd: S,
        data: &mut [Vector<S>],
        other: &mut [Vector<S>],
    ) -> bool {
        let mut swapped = false;
        for pass in &self.passes {
            let (from, to) = if swapped { (&*other, &mut *data) } else { (&*data, &mut *other) };
            let used = 2 * parts::<S>() * self.len;
            let (from, to) = (&from[..used], &mut to[..used]);
            match pass.radix {
                2 => pass.run::<S, Radix2, 2, INVERSE>(simd, from, to),
                3 => pass.run::<S, Radix3, 3, INVERSE>(simd, from, to),
                4 => pass.run::<S, Radix4, 4, INVERSE>(simd, from, to),
                5 => pass.run::<S, Radix5, 5, INVERSE>(simd, from, to),
                _ => pass.run::<S, Radix8, 8, INVERSE>(simd, from, to),
            }
            swapped = !swapped;
        }
        swapped
    }
}

impl Pass {
    #[inline(always)]
    fn run<S: Simd, B: Butterfly<R>, const R: usize, const INVERSE: bool>(
        &self,
        simd: S,
        from: &[Vector<S>],
        to: &mut [Vector<S>],
    ) {
        let (parts, stride, registers) = (self.parts, self.stride, parts::<S>());
        let used = 2 * registers * R * parts * stride;
        assert!(from.len() >= used && to.len() >= used, "buffers of one pass");
        assert!(self.twiddles.len() == (parts - 1) * (R - 1), "twiddles of one pass");
        // An inverse transform is a forward one with real and imaginary parts exchanged.
        let (re, im) = (registers * usize::from(INVERSE), registers * usize::from(!INVERSE));
        let zero = simd.splat_f32s(0.0);
        let (from, to) = (from.as_ptr(), to.as_mut_ptr());
        for p in 0..parts {
            let mut factors = [[zero; 2]; R];
            if p > 0 {
                for k in 1..R {
                    let [wr, wi] = self.twiddles[(p - 1) * (R - 1) + k - 1];
                    factors[k] = [simd.splat_f32s(wr), simd.splat_f32s(wi)];
                }
            }
            for q in 0..stride {
                for register in 0..registers {
                    let at = |position: usize| 2 * registers * (q + stride * position) + register;
                    let mut x = [[zero; 2]; R];
                    for j in 0..R {
                        // SAFETY: q < stride, p < parts, j < R; the buffer's length was asserted.
                        #[allow(unsafe_code)]
                        unsafe {
                            let at = from.add(at(p + parts * j));
                            x[j] = [*at.add(re), *at.add(im)];
                        }
                    }
                    let mut y = B::apply(simd, x);
                    if p > 0 {
                        for k in 1..R {
                            y[k] = multiply(simd, y[k], factors[k]);
                        }
                    }
                    for k in 0..R {
                        // SAFETY: as above.
                        #[allow(unsafe_code)]
                        unsafe {
                            let at = to.add(at(R * p + k));
                            *at.add(re) = y[k][0];
                            *at.add(im) = y[k][1];
                        }
                    }
                }
            }
        }
    }
}

/// A short transform in registers. A trait, not a function argument: only what is inlined by force gets
/// the instruction set of its caller.
trait Butterfly<const R: usize> {
    fn apply<S: Simd>(simd: S, x: [Complex<S>; R]) -> [Complex<S>; R];
}

macro_rules! butterfly {
    ($name:ident, $radix:literal, $function:ident) => {
        struct $name;

        impl Butterfly<$radix> for $name {
            #[inline(always)]
            fn apply<S: Simd>(simd: S, x: [Complex<S>; $radix]) -> [Complex<S>; $radix] {
                $function(simd, x)
            }
        }
    };
}

butterfly!(Radix2, 2, butterfly2);
butterfly!(Radix3, 3, butterfly3);
butterfly!(Radix4, 4, butterfly4);
butterfly!(Radix5, 5, butterfly5);
butterfly!(Radix8, 8, butterfly8);

#[inline(always)]
fn multiply<S: Simd>(simd: S, a: Complex<S>, w: Complex<S>) -> Complex<S> {
    [
        simd.negate_mul_add_f32s(a[1], w[1], simd.mul_f32s(a[0], w[0])),
        simd.mul_add_f32s(a[0], w[1], simd.mul_f32s(a[1], w[0])),
    ]
}

#[inline(always)]
fn add<S: Simd>(simd: S, a: Complex<S>, b: Complex<S>) -> Complex<S> {
    [simd.add_f32s(a[0], b[0]), simd.add_f32s(a[1], b[1])]
}

#[inline(always)]
fn sub<S: Simd>(simd: S, a: Complex<S>, b: Complex<S>) -> Complex<S> {
    [simd.sub_f32s(a[0], b[0]), simd.sub_f32s(a[1], b[1])]
}

/// a - i b and a + i b.
#[inline(always)]
fn rotated<S: Simd>(simd: S, a: Complex<S>, b: Complex<S>) -> [Complex<S>; 2] {
    [
        [simd.add_f32s(a[0], b[1]), simd.sub_f32s(a[1], b[0])],
        [simd.sub_f32s(a[0], b[1]), simd.add_f32s(a[1], b[0])],
    ]
}

#[inline(always)]
fn butterfly2<S: Simd>(simd: S, [a, b]: [Complex<S>; 2]) -> [Complex<S>; 2] {
    [add(simd, a, b), sub(simd, a, b)]
}

#[inline(always)]
fn butterfly3<S: Simd>(simd: S, [a, b, c]: [Complex<S>; 3]) -> [Complex<S>; 3] {
    let half = simd.splat_f32s(-0.5);
    let sine = simd.splat_f32s(0.866_025_4);
    let (sum, difference) = (add(simd, b, c), sub(simd, b, c));
    let middle = [simd.mul_add_f32s(sum[0], half, a[0]), simd.mul_add_f32s(sum[1], half, a[1])];
    let turned = [simd.mul_f32s(difference[0], sine), simd.mul_f32s(difference[1], sine)];
    let [y1, y2] = rotated(simd, middle, turned);
    [add(simd, a, sum), y1, y2]
}

#[inline(always)]
fn butterfly4<S: Simd>(simd: S, [a, b, c, d]: [Complex<S>; 4]) -> [Complex<S>; 4] {
    let (ac, ca) = (add(simd, a, c), sub(simd, a, c));
    let (bd, db) = (add(simd, b, d), sub(simd, b, d));
    let [y1, y3] = rotated(simd, ca, db);
    [add(simd, ac, bd), y1, sub(simd, ac, bd), y3]
}

/// x fx + y fy + z.
#[inline(always)]
fn combine<S: Simd>(
    simd: S,
    x: Vector<S>,
    fx: Vector<S>,
    y: Vector<S>,
    fy: Vector<S>,
    z: Vector<S>,
) -> Vector<S> {
    simd.mul_add_f32s(x, fx, simd.mul_add_f32s(y, fy, z))
}

#[inline(always)]
fn butterfly5<S: Simd>(simd: S, [a, b, c, d, e]: [Complex<S>; 5]) -> [Complex<S>; 5] {
    // cos and sin of 2 pi / 5 and 4 pi / 5.
    let (c1, c2) = (simd.splat_f32s(0.309_017), simd.splat_f32s(-0.809_017));
    let (s1, s2) = (simd.splat_f32s(0.951_056_5), simd.splat_f32s(0.587_785_25));
    let (be, eb) = (add(simd, b, e), sub(simd, b, e));
    let (cd, dc) = (add(simd, c, d), sub(simd, c, d));
    let m1 = [combine(simd, be[0], c1, cd[0], c2, a[0]), combine(simd, be[1], c1, cd[1], c2, a[1])];
    let m2 = [combine(simd, be[0], c2, cd[0], c1, a[0]), combine(simd, be[1], c2, cd[1], c1, a[1])];
    let t1 = [
        simd.mul_add_f32s(eb[0], s1, simd.mul_f32s(dc[0], s2)),
        simd.mul_add_f32s(eb[1], s1, simd.mul_f32s(dc[1], s2)),
    ];
    let t2 = [
        simd.negate_mul_add_f32s(dc[0], s1, simd.mul_f32s(eb[0], s2)),
        simd.negate_mul_add_f32s(dc[1], s1, simd.mul_f32s(eb[1], s2)),
    ];
    let [y1, y4] = rotated(simd, m1, t1);
    let [y2, y3] = rotated(simd, m2, t2);
    [add(simd, a, add(simd, be, cd)), y1, y2, y3, y4]
}

#[inline(always)]
fn butterfly8<S: Simd>(simd: S, x: [Complex<S>; 8]) -> [Complex<S>; 8] {
    let even = butterfly4(simd, [x[0], x[2], x[4], x[6]]);
    let odd = butterfly4(simd, [x[1], x[3], x[5], x[7]]);
    let r = simd.splat_f32s(std::f32::consts::FRAC_1_SQRT_2);
    // Times exp(-i pi / 4) and exp(-3 i pi / 4).
    let o1 = [
        simd.mul_f32s(simd.add_f32s(odd[1][0], odd[1][1]), r),
        simd.mul_f32s(simd.sub_f32s(odd[1][1], odd[1][0]), r),
    ];
    let minus = simd.splat_f32s(-std::f32::consts::FRAC_1_SQRT_2);
    let o3 = [
        simd.mul_f32s(simd.sub_f32s(odd[3][1], odd[3][0]), r),
        simd.mul_f32s(simd.add_f32s(odd[3][0], odd[3][1]), minus),
    ];
    let [y2, y6] = rotated(simd, even[2], odd[2]);
    [
        add(simd, even[0], odd[0]),
        add(simd, even[1], o1),
        y2,
        add(simd, even[3], o3),
        sub(simd, even[0], odd[0]),
        sub(simd, even[1], o1),
        y6,
        sub(simd, even[3], o3),
    ]
}

/// One register of the complex number at a position.
#[inline(always)]
fn complex<S: Simd>(z: &[Vector<S>], position: usize, register: usize) -> Complex<S> {
    let at = 2 * parts::<S>() * position + register;
    [z[at], z[at + parts::<S>()]]
}

/// Receives the bins of a half spectrum, register by register.
pub(super) trait Sink<S: Simd> {
    fn put(&mut self, bin: usize, register: usize, value: Complex<S>);
}

/// Supplies the bins of a half spectrum, register by register.
pub(super) trait Bins<S: Simd> {
    fn get(&self, bin: usize, register: usize) -> Complex<S>;
}

/// The transform of real sequences of one even length, by a complex one of half the length.
pub(super) struct RealFft {
    len: usize,
    half: ComplexFft,
    /// `exp(-2 pi i k / len)` for `k` in `0..=len / 4`.
    twiddles: Vec<[f32; 2]>,
}

impl RealFft {
    /// The transform of `len` positions, or `None` for an unsupported length.
    pub(super) fn new(len: usize) -> Option<RealFft> {
        if !len.is_multiple_of(2) {
            return None;
        }
        let half = ComplexFft::new(len / 2)?;
        Some(RealFft { len, half, twiddles: (0..=len / 4).map(|k| unit(k, len)).collect() })
    }

    /// The number of bins of a half spectrum.
    pub(super) fn bins(&self) -> usize {
        self.len / 2 + 1
    }

    /// Twice the half spectrum of the first `len` positions of `data`, bin by bin. `other` is
    /// work space of the same length; both are overwritten.
    #[inline(always)]
    pub(super) fn forward<S: Simd>(
        &self,
        simd: S,
        data: &mut [Vector<S>],
        other: &mut [Vector<S>],
        to: &mut impl Sink<S>,
    ) {
        let (half, registers) = (self.len / 2, parts::<S>());
        let z = if self.half.run::<S, false>(simd, data, other) { other } else { data };
        let z = &z[..registers * self.len];
        let zero = simd.splat_f32s(0.0);
        let two = simd.splat_f32s(2.0);
        for register in 0..registers {
            let [re, im] = complex::<S>(z, 0, register);
            to.put(0, register, [simd.mul_f32s(two, simd.add_f32s(re, im)), zero]);
            to.put(half, register, [simd.mul_f32s(two, simd.sub_f32s(re, im)), zero]);
        }
        for (k, &[wr, wi]) in self.twiddles.iter().enumerate().skip(1) {
            for register in 0..registers {
                let (a, b) = (complex::<S>(z, k, register), complex::<S>(z, half - k, register));
                // Spectra of the even positions, and of the odd ones.
                let e = [simd.add_f32s(a[0], b[0]), simd.sub_f32s(a[1], b[1])];
                let o = [simd.add_f32s(a[1], b[1]), simd.sub_f32s(b[0], a[0])];
                let o = multiply(simd, o, [simd.splat_f32s(wr), simd.splat_f32s(wi)]);
                to.put(k, register, [simd.add_f32s(e[0], o[0]), simd.add_f32s(e[1], o[1])]);
                to.put(half - k, register, [simd.sub_f32s(e[0], o[0]), simd.sub_f32s(o[1], e[1])]);
            }
        }
    }

    /// The sequences whose half spectra `spectrum` supplies, times `len`. Returns whether they are in `other`.
    #[inline(always)]
    pub(super) fn inverse<S: Simd>(
        &self,
        simd: S,
        spectrum: &impl Bins<S>,
        data: &mut [Vector<S>],
        other: &mut [Vector<S>],
    ) -> bool {
        let (half, registers) = (self.len / 2, parts::<S>());
        let z = &mut data[..registers * self.len];
        for register in 0..registers {
            let ([first, _], [last, _]) = (spectrum.get(0, register), spectrum.get(half, register));
            z[register] = simd.add_f32s(first, last);
            z[registers + register] = simd.sub_f32s(first, last);
        }
        for (k, &[wr, wi]) in self.twiddles.iter().enumerate().skip(1) {
            for register in 0..registers {
                let (a, b) = (spectrum.get(k, register), spectrum.get(half - k, register));
                let e = [simd.add_f32s(a[0], b[0]), simd.sub_f32s(a[1], b[1])];
                let o = [simd.sub_f32s(a[0], b[0]), simd.add_f32s(a[1], b[1])];
                // Times the conjugate of the twiddle.
                let (wr, wi) = (simd.splat_f32s(wr), simd.splat_f32s(-wi));
                let o = multiply(simd, o, [wr, wi]);
                let (near, far) = (2 * registers * k + register, 2 * registers * (half - k) + register);
                z[near] = simd.sub_f32s(e[0], o[1]);
                z[near + registers] = simd.add_f32s(e[1], o[0]);
                z[far] = simd.add_f32s(e[0], o[1]);
                z[far + registers] = simd.sub_f32s(o[0], e[1]);
            }
        }
        self.half.run::<S, true>(simd, data, other)
    }
}
