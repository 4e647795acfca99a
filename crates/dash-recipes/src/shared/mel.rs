//! Mel spectrograms in decibels, by torchaudio's definitions: HTK's mel scale without normalisation of the
//! bands, a periodic Hann window in the middle of each transform, signals reflected at their ends.
//!
//! Computed in double precision and without instructions that only some CPUs have: the numbers of a
//! dataset are the same on every machine.

use rustfft::{Fft, FftPlannerScalar, num_complex::Complex};
use std::{f64::consts::TAU, sync::Arc};

/// What powers are raised to before their logarithm.
const LEAST_POWER: f64 = 1e-10;

/// How a spectrogram is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MelSettings {
    /// Samples per second.
    pub(crate) sample_rate: u32,
    /// Length of the transforms; even.
    pub(crate) fft: usize,
    /// Samples under the window; at most `fft`.
    pub(crate) window: usize,
    /// Samples from one frame to the next.
    pub(crate) hop: usize,
    /// Mel bands.
    pub(crate) bands: usize,
    /// Decibels below the loudest value to which quieter ones are raised.
    pub(crate) top_db: f64,
}

/// A maker of spectrograms.
pub(crate) struct Mel {
    settings: MelSettings,
    transform: Arc<dyn Fft<f64>>,
    window: Vec<f64>,
    bands: Vec<Band>,
}

/// Frequencies of one band: weights from `first` on.
struct Band {
    first: usize,
    weights: Vec<f64>,
}

/// Memory of one thread.
pub(crate) struct Work {
    /// Two frames, the second as imaginary parts; then their spectrum.
    pair: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    /// Powers of both frames.
    powers: [Vec<f64>; 2],
}

impl Mel {
    pub(crate) fn new(settings: MelSettings) -> Mel {
        let transform = FftPlannerScalar::new().plan_fft_forward(settings.fft);
        let length = settings.window as f64;
        let window = (0..settings.window).map(|at| 0.5 - 0.5 * libm::cos(TAU * at as f64 / length)).collect();
        Mel { bands: bands(&settings), settings, transform, window }
    }

    pub(crate) fn work(&self) -> Work {
        let zeros = |length| vec![Complex::new(0.0, 0.0); length];
        let powers = || vec![0.0; self.settings.fft / 2 + 1];
        Work {
            pair: zeros(self.settings.fft),
            scratch: zeros(self.transform.get_inplace_scratch_len()),
            powers: [powers(), powers()],
        }
    }

    /// Frames of a signal.
    pub(crate) fn frames(&self, samples: usize) -> usize {
        samples / self.settings.hop.max(1) + 1
    }

    /// The spectrogram of a signal of more than `fft` / 2 samples, so that it can be reflected: (bands,
    /// frames), minus its mean.
    pub(crate) fn spectrogram(&self, signal: &[f64], work: &mut Work) -> Vec<f32> {
        let frames = self.frames(signal.len());
        let mut decibels = vec![0.0; self.bands.len() * frames];
        for first in (0..frames).step_by(2) {
            self.transform_pair(signal, first, work);
            for (frame, powers) in (first..frames).zip(&work.powers) {
                for (number, band) in self.bands.iter().enumerate() {
                    let powers = powers.get(band.first..).unwrap_or_default();
                    let power: f64 = band.weights.iter().zip(powers).map(|(w, p)| w * p).sum();
                    if let Some(value) = decibels.get_mut(number * frames + frame) {
                        *value = 10.0 * libm::log10(power.max(LEAST_POWER));
                    }
                }
            }
        }
        let floor = decibels.iter().copied().fold(f64::NEG_INFINITY, f64::max) - self.settings.top_db;
        let mut sum = 0.0;
        for value in &mut decibels {
            *value = value.max(floor);
            sum += *value;
        }
        let mean = sum / decibels.len() as f64;
        decibels.iter().map(|value| (value - mean) as f32).collect()
    }

    /// Powers of the frames `first` and `first + 1` from one complex transform: the spectrum of a real
    /// signal is symmetric, that of an imaginary one antisymmetric.
    fn transform_pair(&self, signal: &[f64], first: usize, work: &mut Work) {
        let MelSettings { fft, window, hop, .. } = self.settings;
        // The window begins here, relative to the sample in the middle of the frame. Its place in the
        // transform has no influence on powers.
        let before = (fft / 2 - (fft - window) / 2) as isize;
        let sample = |frame: usize, at: usize| -> f64 {
            let place = (frame * hop) as isize - before + at as isize;
            let last = signal.len() as isize - 1;
            let reflected = if place > last { 2 * last - place } else { place.abs() };
            usize::try_from(reflected).ok().and_then(|place| signal.get(place)).copied().unwrap_or_default()
        };
        work.pair.fill(Complex::new(0.0, 0.0));
        for (at, (value, weight)) in work.pair.iter_mut().zip(&self.window).enumerate() {
            *value = Complex::new(weight * sample(first, at), weight * sample(first + 1, at));
        }
        self.transform.process_with_scratch(&mut work.pair, &mut work.scratch);
        let [even, odd] = &mut work.powers;
        for (bin, (even, odd)) in even.iter_mut().zip(odd).enumerate() {
            let mirror = if bin == 0 { 0 } else { fft - bin };
            let (Some(z), Some(m)) = (work.pair.get(bin), work.pair.get(mirror)) else { continue };
            *even = ((z.re + m.re).powi(2) + (z.im - m.im).powi(2)) / 4.0;
            *odd = ((z.im + m.im).powi(2) + (z.re - m.re).powi(2)) / 4.0;
        }
    }
}

/// Triangles with corners at equal distances on the mel scale, from 0 to half of the sample rate.
fn bands(settings: &MelSettings) -> Vec<Band> {
    let highest = f64::from(settings.sample_rate / 2);
    let bins = settings.fft / 2 + 1;
    let frequency = |bin: usize| highest * bin as f64 / (bins - 1).max(1) as f64;
    let highest_mel = 2595.0 * libm::log10(1.0 + highest / 700.0);
    let corner = |number: usize| {
        let mel = highest_mel * number as f64 / (settings.bands + 1) as f64;
        700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0)
    };
    let band = |number: usize| {
        let [low, centre, high] = [0, 1, 2].map(|more| corner(number + more));
        let weight = |bin: usize| {
            let frequency = frequency(bin);
            ((frequency - low) / (centre - low)).min((high - frequency) / (high - centre)).max(0.0)
        };
        let inside = |&bin: &usize| weight(bin) > 0.0;
        let first = (0..bins).find(inside).unwrap_or(bins);
        Band { first, weights: (first..bins).take_while(inside).map(weight).collect() }
    };
    (0..settings.bands).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by tests/fixtures/mel.py: for each case a line of settings, then rows of `band frame value`.
    const EXPECTED: &str = include_str!("../../../../tests/fixtures/mel.txt");

    /// The signal of the script: noise whose loudness rises and falls, a tone, then silence.
    fn signal(length: usize) -> Vec<f64> {
        let mut state = 12_345u32;
        let sample = |at: usize| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let noise = ((state >> 16) & 0x7fff) as i32 - 16_384;
            let tone = ((at * 37 % 101) as i32 - 50) * 60;
            let value = if at * 4 >= length * 3 { 0 } else { ((noise * (at & 4095) as i32) >> 12) + tone };
            f64::from(value) / 32_768.0
        };
        (0..length).map(sample).collect()
    }

    #[test]
    fn spectrograms_are_those_of_torchaudio() {
        let mut cases = 0;
        let mut checked = 0;
        let mut spectrogram = vec![];
        let mut frames = 0;
        for line in EXPECTED.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [sample_rate, fft, window, hop, bands, top_db, length] = *words.as_slice() {
                let number = |word: &str| word.parse::<usize>().unwrap();
                let mel = Mel::new(MelSettings {
                    sample_rate: number(sample_rate) as u32,
                    fft: number(fft),
                    window: number(window),
                    hop: number(hop),
                    bands: number(bands),
                    top_db: top_db.parse().unwrap(),
                });
                spectrogram = mel.spectrogram(&signal(number(length)), &mut mel.work());
                frames = mel.frames(number(length));
                assert_eq!(spectrogram.len(), number(bands) * frames);
                cases += 1;
                continue;
            }
            let [band, frame, value] = *words.as_slice() else { panic!("{line}") };
            let at = band.parse::<usize>().unwrap() * frames + frame.parse::<usize>().unwrap();
            let difference = f64::from(spectrogram[at]) - value.parse::<f64>().unwrap();
            assert!(difference.abs() < 1e-5, "{line}: {difference} dB off");
            checked += 1;
        }
        assert_eq!(cases, 3);
        assert!(checked > 300);
    }

    #[test]
    fn silence_is_flat_and_the_mean_is_zero() {
        let settings = MelSettings { sample_rate: 1000, fft: 32, window: 20, hop: 7, bands: 5, top_db: 80.0 };
        let mel = Mel::new(settings);
        assert!(mel.spectrogram(&[0.0; 40], &mut mel.work()).iter().all(|&value| value == 0.0));
        let values = mel.spectrogram(&signal(40), &mut mel.work());
        assert!(values.iter().sum::<f32>().abs() < 1e-3, "{values:?}");
        assert_eq!(mel.frames(40), 6);
    }
}
