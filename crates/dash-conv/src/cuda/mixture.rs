//! Mixes the weights of candidates on a GPU, and computes the gradients (DASH, sections 4.1 and 4.3).

use super::kernels::{Mix, MixCoefficients, MixGradient};
use dash_cuda::{DeviceBuffer, DeviceSlice, Error, Gpu, LaunchDims, expect};

const NAME: &str = "mixture";

/// Where the weights of all candidates go: made once for a set of candidates and a number of channel pairs.
///
/// Weights are flat: of each candidate `[pairs, its taps]`.
pub(crate) struct MixtureTable {
    pairs: usize,
    taps: usize,
    candidates: usize,
    /// Weights of one pair.
    entries: usize,
    /// By tap: where its entries begin, and of each the candidate, the place of its weight of pair 0, and the number of
    /// the candidate's taps.
    by_tap: [DeviceBuffer<i32>; 4],
    /// By weight: where the entries of a candidate begin, and of each the candidate, the tap, its place, and the number
    /// of the candidate's taps.
    by_weight: [DeviceBuffer<i32>; 5],
}

impl MixtureTable {
    /// The table for candidates whose taps are at the given `tap_indices` of a union of `taps` taps.
    ///
    /// # Errors
    /// If a place is outside of the union, there are too many weights to count, or the GPU fails.
    pub(crate) fn new(
        gpu: &Gpu,
        tap_indices: &[Vec<usize>],
        taps: usize,
        pairs: usize,
    ) -> Result<MixtureTable, Error> {
        let number = |size: usize| {
            i32::try_from(size).map_err(|_| Error::Operands {
                operation: NAME,
                what: format!("{size} is more than a kernel can count"),
            })
        };
        let mut of_tap: Vec<Vec<[i32; 3]>> = vec![Vec::new(); taps];
        let (mut begin, mut owner, mut tap, mut place, mut width) =
            (vec![0], Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (candidate, tap_indices) in tap_indices.iter().enumerate() {
            let (candidate, own) = (number(candidate)?, number(tap_indices.len())?);
            for (index, &at) in tap_indices.iter().enumerate() {
                let entries = of_tap.get_mut(at).ok_or_else(|| Error::Operands {
                    operation: NAME,
                    what: format!("there is no tap {at} among {taps}"),
                })?;
                let first = number(start + index)?;
                entries.push([candidate, first, own]);
                owner.push(candidate);
                tap.push(number(at)?);
                place.push(first);
                width.push(own);
            }
            start += pairs * tap_indices.len();
            begin.push(number(owner.len())?);
        }
        number(start)?;
        let mut of_taps = [vec![0], Vec::new(), Vec::new(), Vec::new()];
        for entries in &of_tap {
            for [candidate, first, own] in entries {
                of_taps[1].push(*candidate);
                of_taps[2].push(*first);
                of_taps[3].push(*own);
            }
            let end = number(of_taps[1].len())?;
            of_taps[0].push(end);
        }
        let [a, b, c, d] = of_taps;
        Ok(MixtureTable {
            pairs,
            taps,
            candidates: tap_indices.len(),
            entries: owner.len(),
            by_tap: [gpu.upload(&a)?, gpu.upload(&b)?, gpu.upload(&c)?, gpu.upload(&d)?],
            by_weight: [
                gpu.upload(&begin)?,
                gpu.upload(&owner)?,
                gpu.upload(&tap)?,
                gpu.upload(&place)?,
                gpu.upload(&width)?,
            ],
        })
    }

    fn check(&self, weights: DeviceSlice<'_, f32>, coefficients: DeviceSlice<'_, f32>) -> Result<(), Error> {
        expect(NAME, "the weights", weights.len(), self.pairs * self.entries)?;
        expect(NAME, "the coefficients", coefficients.len(), self.candidates)
    }

    /// The weights of the union, `[pairs, taps]`.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub(crate) fn mix(
        &self,
        gpu: &Gpu,
        weights: DeviceSlice<'_, f32>,
        coefficients: DeviceSlice<'_, f32>,
    ) -> Result<DeviceBuffer<f32>, Error> {
        self.check(weights, coefficients)?;
        let mut out = gpu.alloc(self.pairs * self.taps)?;
        let [begin, candidate, base, width] = self.by_tap.each_ref().map(|table| gpu.read(table));
        let (pairs, taps) = (self.pairs, self.taps);
        let mix = Mix {
            weights,
            coefficients,
            begin,
            candidate,
            base,
            width,
            out: gpu.write(&mut out),
            pairs,
            taps,
        };
        // SAFETY: lengths were compared, and the table points into that many weights and coefficients.
        #[allow(unsafe_code)]
        unsafe {
            mix.launch(gpu, LaunchDims::over(pairs * taps))?;
        }
        Ok(out)
    }

    /// Gradients in weights and coefficients, given that of the union's weights.
    ///
    /// # Errors
    /// If operands do not fit, or the GPU fails.
    pub(crate) fn gradients(
        &self,
        gpu: &Gpu,
        weights: DeviceSlice<'_, f32>,
        coefficients: DeviceSlice<'_, f32>,
        grad: DeviceSlice<'_, f32>,
    ) -> Result<[DeviceBuffer<f32>; 2], Error> {
        self.check(weights, coefficients)?;
        expect(NAME, "the gradient", grad.len(), self.pairs * self.taps)?;
        let (mut dw, mut dc) = (gpu.alloc(weights.len())?, gpu.alloc(self.candidates)?);
        let [begin, owner, tap, base, width] = self.by_weight.each_ref().map(|table| gpu.read(table));
        let MixtureTable { pairs, taps, candidates, entries, .. } = *self;
        let blocks = u32::try_from(candidates).unwrap_or(u32::MAX).clamp(1, 1 << 16);
        let count = weights.len();
        // SAFETY: as above; each weight has one entry of each pair.
        #[allow(unsafe_code)]
        unsafe {
            let to = gpu.write(&mut dw);
            let gradient =
                MixGradient { grad, coefficients, owner, tap, base, width, dw: to, pairs, taps, entries };
            gradient.launch(gpu, LaunchDims::over(count))?;
            let to = gpu.write(&mut dc);
            let gradient =
                MixCoefficients { grad, weights, begin, tap, base, width, dc: to, pairs, taps, candidates };
            gradient.launch(gpu, LaunchDims::sums([blocks, 1, 1], 1))?;
        }
        Ok([dw, dc])
    }
}
