//! Selects the instruction set, and provides the tools with which loops in explicit vectors give the same bits on all of them.
//!
//! Every result has the same bits on every instruction set with a fused multiply-add. Two rules ensure it: products are
//! added by fused operations in all paths, remainders included; and sums over vector lanes are sums over [`LANES`] lanes,
//! whatever a register holds: one register of AVX-512, two of AVX2, sixteen scalars without vectors.

use crate::Error;
use pulp::{Arch, Simd, WithSimd};
use std::{fmt, ops::Range, sync::OnceLock};

/// The number of lanes over which sums are divided, and of planes that are computed side by side.
pub const LANES: usize = 16;

/// The environment variable that selects an instruction set, for tests and support.
pub const VARIABLE: &str = "DASH_NAS_ISA";

/// The vectors of an instruction set.
pub(crate) type Vector<S> = <S as Simd>::f32s;

/// A set of vector instructions that inner loops are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstructionSet {
    /// AVX-512 (F, BW, CD, DQ, VL), with registers of sixteen f32.
    Avx512,
    /// AVX2 with FMA, with registers of eight f32.
    Avx2,
    /// NEON, with registers of four f32.
    Neon,
    /// No vectors: for tests, and for CPUs without the others. Slow.
    Scalar,
}

impl InstructionSet {
    const ALL: [InstructionSet; 4] =
        [InstructionSet::Avx512, InstructionSet::Avx2, InstructionSet::Neon, InstructionSet::Scalar];

    /// `avx512`, `avx2`, `neon` or `scalar`.
    pub fn name(self) -> &'static str {
        match self {
            InstructionSet::Avx512 => "avx512",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Neon => "neon",
            InstructionSet::Scalar => "scalar",
        }
    }

    /// The instruction sets of this machine, the fastest first.
    pub fn available() -> impl Iterator<Item = InstructionSet> {
        InstructionSet::ALL.into_iter().filter(|set| set.arch().is_some())
    }

    /// The dispatcher to loops compiled for this instruction set; `None` if the machine does not have it.
    pub fn arch(self) -> Option<Arch> {
        match self {
            InstructionSet::Scalar => Some(Arch::Scalar),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => pulp::x86::V4::try_new().map(Arch::V4),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => pulp::x86::V3::try_new().map(Arch::V3),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => match Arch::new() {
                Arch::Scalar => None,
                arch => Some(arch),
            },
            #[allow(unreachable_patterns, reason = "which are left depends on the architecture")]
            _ => None,
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An instruction set and its dispatcher.
type Choice = (InstructionSet, Arch);

/// The fastest instruction set of this machine.
fn fastest() -> Choice {
    InstructionSet::available()
        .find_map(|set| set.arch().map(|arch| (set, arch)))
        .unwrap_or((InstructionSet::Scalar, Arch::Scalar))
}

/// The instruction set that a value of [`VARIABLE`] asks for, or the fastest one.
fn choose(asked: Option<&str>) -> Result<Choice, Error> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(fastest()) };
    let refused = |why| {
        let available: Vec<&str> = InstructionSet::available().map(InstructionSet::name).collect();
        Error::InstructionSet {
            variable: VARIABLE,
            asked: asked.to_owned(),
            why,
            available: available.join(", "),
        }
    };
    let set = InstructionSet::ALL.into_iter().find(|set| set.name() == asked);
    let set = set.ok_or_else(|| refused("is not the name of an instruction set"))?;
    let arch = set.arch().ok_or_else(|| refused("this machine does not have"))?;
    Ok((set, arch))
}

/// The choice, made once for the whole process.
fn chosen() -> &'static Result<Choice, Error> {
    static CHOSEN: OnceLock<Result<Choice, Error>> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        choose(std::env::var_os(VARIABLE).map(|asked| asked.to_string_lossy().into_owned()).as_deref())
    })
}

/// The dispatcher of this process: for the fastest instruction set, unless `DASH_NAS_ISA` selects another. An invalid value
/// is ignored here; [`check_instruction_set`] reports it.
pub fn arch() -> Arch {
    chosen().as_ref().map_or_else(|_| fastest().1, |choice| choice.1)
}

/// The instruction set that [`arch`] uses.
pub fn instruction_set() -> InstructionSet {
    chosen().as_ref().map_or_else(|_| fastest().0, |choice| choice.0)
}

/// Checks the value of `DASH_NAS_ISA` and returns the instruction set in use.
///
/// # Errors
/// [`Error::InstructionSet`] if the value names no instruction set, or one that this machine does not have.
pub fn check_instruction_set() -> Result<InstructionSet, Error> {
    chosen().clone().map(|choice| choice.0)
}

/// Whether the instruction set in use has AVX: for loops that move elements and compute nothing.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx() -> bool {
    !matches!(arch(), Arch::Scalar)
}

/// The number of registers that hold [`LANES`] elements.
#[inline(always)]
pub(crate) const fn parts<S: Simd>() -> usize {
    LANES / S::F32_LANES
}

struct Registers;

impl WithSimd for Registers {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// The number of elements per register.
pub(crate) fn register(arch: Arch) -> usize {
    arch.dispatch(Registers)
}

/// A loop that sums over lanes: `P` registers hold [`LANES`] elements.
pub trait WithLanes {
    /// The type of its result.
    type Output;

    /// Runs the loop. Implementations must be `#[inline(always)]`, or they do not get the instruction set of their caller.
    fn run<S: Simd, const P: usize>(self, simd: S) -> Self::Output;
}

/// Runs a loop that sums over lanes with the vectors of `arch`.
pub fn run_lanes<K: WithLanes>(arch: Arch, kernel: K) -> K::Output {
    struct Adapter<K>(K);

    impl<K: WithLanes> WithSimd for Adapter<K> {
        type Output = K::Output;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> K::Output {
            match S::F32_LANES {
                16 => self.0.run::<S, 1>(simd),
                8 => self.0.run::<S, 2>(simd),
                4 => self.0.run::<S, 4>(simd),
                _ => self.0.run::<S, 16>(simd),
            }
        }
    }

    arch.dispatch(Adapter(kernel))
}

/// [`LANES`] elements in `P` registers.
#[derive(Clone, Copy)]
pub struct Lanes<S: Simd, const P: usize>(pub [S::f32s; P]);

impl<S: Simd, const P: usize> Lanes<S, P> {
    /// The same value in all lanes.
    #[inline(always)]
    pub fn splat(simd: S, value: f32) -> Self {
        Lanes([simd.splat_f32s(value); P])
    }

    /// Loads the first [`LANES`] elements of a slice, which must have as many.
    #[allow(clippy::manual_memcpy, reason = "registers stay registers in a loop, and not in a call")]
    #[inline(always)]
    pub fn load(values: &[f32]) -> Self {
        let registers = &S::as_simd_f32s(values).0[..P];
        let mut lanes = Lanes([registers[0]; P]);
        for part in 1..P {
            lanes.0[part] = registers[part];
        }
        lanes
    }

    /// Writes the first [`LANES`] elements of a slice, which must have as many.
    #[inline(always)]
    pub fn store(self, values: &mut [f32]) {
        for (to, register) in S::as_mut_simd_f32s(values).0.iter_mut().zip(self.0) {
            *to = register;
        }
    }

    /// Loads a slice of at most [`LANES`] elements, and zeros in the other lanes.
    #[inline(always)]
    pub fn load_part(simd: S, values: &[f32]) -> Self {
        let mut lanes = Lanes::splat(simd, 0.0);
        for (register, values) in lanes.0.iter_mut().zip(values.chunks(S::F32_LANES)) {
            *register = simd.partial_load_f32s(values);
        }
        lanes
    }

    /// The sum, lane by lane.
    #[inline(always)]
    pub fn add(mut self, simd: S, other: Self) -> Self {
        for part in 0..P {
            self.0[part] = simd.add_f32s(self.0[part], other.0[part]);
        }
        self
    }

    /// `self + a b`, lane by lane, rounded once.
    #[inline(always)]
    pub fn add_product(mut self, simd: S, a: Self, b: Self) -> Self {
        for part in 0..P {
            self.0[part] = simd.mul_add_f32s(a.0[part], b.0[part], self.0[part]);
        }
        self
    }

    /// The values in some of the lanes, and zeros in the others.
    #[inline(always)]
    pub fn only(mut self, simd: S, lanes: Range<usize>) -> Self {
        let zero = simd.splat_f32s(0.0);
        for part in 0..P {
            let within = |lane: usize| lane.saturating_sub(part * S::F32_LANES).min(S::F32_LANES) as u32;
            let mask = simd.mask_between_m32s(within(lanes.start), within(lanes.end)).mask();
            self.0[part] = simd.select_f32s(mask, self.0[part], zero);
        }
        self
    }

    /// The sum over the lanes: the upper half is added to the lower half until one lane is left.
    #[inline(always)]
    pub fn sum(mut self, simd: S) -> f32 {
        let mut half = P / 2;
        while half > 0 {
            for part in 0..half {
                self.0[part] = simd.add_f32s(self.0[part], self.0[part + half]);
            }
            half /= 2;
        }
        // Within a register, the library adds halves as well; a test checks it.
        simd.reduce_sum_f32s(self.0[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_are_chosen_by_name_and_others_refused() {
        assert_eq!(choose(None).unwrap().0, fastest().0);
        assert_eq!(choose(Some("")).unwrap().0, fastest().0);
        assert_eq!(choose(Some("scalar")).unwrap().0, InstructionSet::Scalar);
        for set in InstructionSet::ALL {
            let found = choose(Some(set.name())).map(|choice| choice.0);
            match set.arch() {
                Some(_) => assert_eq!(found, Ok(set)),
                None => assert!(found.unwrap_err().to_string().contains("this machine does not have")),
            }
        }
        let error = choose(Some("sse\n9")).err().unwrap().to_string();
        assert!(
            error.starts_with(r#"DASH_NAS_ISA is "sse\n9", which is not the name of an instruction set"#),
            "{error}"
        );
        assert!(error.contains("scalar"), "{error}");
    }

    struct Sums<'a>(&'a [f32]);

    impl WithLanes for Sums<'_> {
        type Output = [f32; 2];

        #[inline(always)]
        fn run<S: Simd, const P: usize>(self, simd: S) -> [f32; 2] {
            let part = Lanes::<S, P>::load_part(simd, &self.0[..11]);
            let whole = Lanes::<S, P>::load(self.0).add_product(simd, part, part).add(simd, part);
            [whole.sum(simd), part.sum(simd)]
        }
    }

    #[test]
    fn sums_over_lanes_have_one_order() {
        let values: Vec<f32> = (0..LANES).map(|i| 1.0 / (3 + i * i) as f32).collect();
        let halves = |values: [f32; LANES]| {
            let (mut values, mut half) = (values, LANES / 2);
            while half > 0 {
                (0..half).for_each(|i| values[i] += values[i + half]);
                half /= 2;
            }
            values[0]
        };
        let part: [f32; LANES] = std::array::from_fn(|i| if i < 11 { values[i] } else { 0.0 });
        let whole = std::array::from_fn(|i| part[i].mul_add(part[i], values[i]) + part[i]);
        for set in InstructionSet::available() {
            let found = run_lanes(set.arch().unwrap(), Sums(&values));
            assert_eq!(found.map(f32::to_bits), [halves(whole), halves(part)].map(f32::to_bits), "{set}");
        }
    }
}
