//! Counter-based random streams: any draw can be recomputed without history.
//!
//! A stream is identified by (run seed, purpose, counter). Resuming a run therefore needs no generator state, and any
//! thread may draw from any stream.

use rand::SeedableRng;
pub use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// The purpose of random numbers. Streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; counter = (network, parameter, 0).
    Initialisation = 1,
    /// Order of the samples; counter = (stage, epoch, 0).
    Shuffle = 2,
    /// Gumbel noise of the mixing weights; counter = (epoch, step, layer).
    Gumbel = 3,
    /// Dropout masks; counter = (step of the stage, layer, block).
    Dropout = 4,
    /// Data augmentation; counter = (stage, epoch, row of the split).
    Augmentation = 5,
    /// Random splits of a dataset.
    Split = 6,
    /// Simulated data; counter = (instance, 0, 0).
    Simulation = 7,
    /// The row that training uses of a sample with several rows; counter = (stage, epoch, sample).
    Part = 8,
}

/// The random stream of (`seed`, `purpose`, `counter`).
///
/// The generator is ChaCha with 8 rounds. Seed, purpose and the first two counters form the key, the last counter is the
/// nonce; distinct arguments therefore never share a stream.
///
/// ```
/// use dash_core::random::{Purpose, stream};
/// use rand::RngCore;
/// let first = stream(1, Purpose::Shuffle, [0, 3, 0]).next_u64();
/// assert_eq!(first, stream(1, Purpose::Shuffle, [0, 3, 0]).next_u64());
/// assert_ne!(first, stream(1, Purpose::Shuffle, [0, 4, 0]).next_u64());
/// ```
pub fn stream(seed: u64, purpose: Purpose, counter: [u64; 3]) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (bytes, word) in key.chunks_exact_mut(4).zip(stream_key(seed, purpose, [counter[0], counter[1]])) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(counter[2]);
    rng
}

/// The ChaCha key of all streams that differ only in the last counter, for generators on other devices.
pub fn stream_key(seed: u64, purpose: Purpose, counter: [u64; 2]) -> [u32; 8] {
    let words = [seed, purpose as u64, counter[0], counter[1]];
    std::array::from_fn(|i| (words[i / 2] >> (32 * (i % 2))) as u32)
}

/// Draws from the exponential distribution with mean 1 by the ziggurat algorithm (Marsaglia and Tsang 2000): a random
/// number times an entry of a table. The system's `exp` and `ln` decide about acceptance in about one of a hundred draws;
/// their last bit matters with a probability below 1e-14.
///
/// ```
/// use dash_core::random::{Purpose, standard_exponential, stream};
/// let mut rng = stream(1, Purpose::Gumbel, [0, 0, 0]);
/// let mean = (0..10_000).map(|_| standard_exponential(&mut rng)).sum::<f64>() / 1e4;
/// assert!((mean - 1.0).abs() < 0.04);
/// ```
pub fn standard_exponential(rng: &mut ChaCha8Rng) -> f64 {
    Exp1.sample(rng)
}

/// Draws from the normal distribution with mean 0 and variance 1, by the same algorithm as [`standard_exponential`].
///
/// ```
/// use dash_core::random::{Purpose, standard_normal, stream};
/// let mut rng = stream(1, Purpose::Initialisation, [0, 0, 0]);
/// let square = (0..10_000).map(|_| standard_normal(&mut rng).powi(2)).sum::<f64>() / 1e4;
/// assert!((square - 1.0).abs() < 0.06);
/// ```
pub fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// A uniformly random permutation of `0..n` (Fisher-Yates).
pub fn permutation(rng: &mut ChaCha8Rng, n: usize) -> Vec<usize> {
    use rand::Rng;
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        // Drawn as u64, so that the width of usize does not change the order.
        let j = rng.random_range(0..=i as u64) as usize;
        order.swap(i, j);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;

    #[test]
    fn every_argument_changes_the_stream() {
        let base = stream(0, Purpose::Gumbel, [0, 0, 0]).next_u64();
        let others = [
            stream(1, Purpose::Gumbel, [0, 0, 0]),
            stream(0, Purpose::Dropout, [0, 0, 0]),
            stream(0, Purpose::Gumbel, [1, 0, 0]),
            stream(0, Purpose::Gumbel, [0, 1, 0]),
            stream(0, Purpose::Gumbel, [0, 0, 1]),
        ];
        for mut other in others {
            assert_ne!(base, other.next_u64());
        }
    }

    /// Shares of draws below some bounds, against the distributions.
    #[test]
    fn normal_and_exponential_draws_have_their_distributions() {
        let mut rng = stream(2, Purpose::Gumbel, [0, 0, 0]);
        let n = 200_000;
        let (normal, exponential): (Vec<f64>, Vec<f64>) =
            (0..n).map(|_| (standard_normal(&mut rng), standard_exponential(&mut rng))).unzip();
        let below =
            |values: &[f64], bound: f64| values.iter().filter(|&&v| v < bound).count() as f64 / n as f64;
        for (bound, share) in [(-2.0, 0.02275), (-1.0, 0.15866), (0.0, 0.5), (0.5, 0.69146), (1.5, 0.93319)] {
            assert!((below(&normal, bound) - share).abs() < 4e-3, "{bound}");
        }
        for bound in [0.01, 0.1, 0.5, 1.0, 2.0, 4.0f64] {
            assert!((below(&exponential, bound) + (-bound).exp_m1()).abs() < 4e-3, "{bound}");
        }
    }

    /// Draws are the same on every machine; these values were computed on one.
    #[test]
    fn draws_are_known_to_the_bit() {
        let mut rng = stream(7, Purpose::Initialisation, [1, 2, 3]);
        let bits = [standard_normal(&mut rng), standard_exponential(&mut rng)].map(f64::to_bits);
        assert_eq!(bits, [0x3ff7_da2d_cde7_5ea3, 0x3fee_26aa_8ed6_0b1f], "{bits:#018x?}");
    }

    #[test]
    fn permutations_hold_every_index_once() {
        let mut order = permutation(&mut stream(3, Purpose::Shuffle, [0, 0, 0]), 1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
