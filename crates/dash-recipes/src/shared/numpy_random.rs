//! numpy's legacy random generator, so that published splits are reproduced row by row.

use rand_mt::Mt;

/// `numpy.random.RandomState(seed)`: MT19937 with numpy's seeding and bounded integers.
#[derive(Clone, Debug)]
pub(crate) struct RandomState(Mt);

impl RandomState {
    /// The generator that numpy makes from an integer seed.
    pub(crate) fn new(seed: u32) -> Self {
        RandomState(Mt::new(seed))
    }

    /// The next 32 random bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A uniform integer in `0..=max`: words are masked to the bits of `max` and drawn until one fits.
    pub(crate) fn bounded(&mut self, max: u32) -> u32 {
        if max == 0 {
            return 0; // numpy draws nothing in this case
        }
        let mask = u32::MAX >> max.leading_zeros();
        loop {
            let value = self.next_u32() & mask;
            if value <= max {
                return value;
            }
        }
    }

    /// `random_sample()`: a uniform number in [0, 1) of 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        let [high, low] = [5, 6].map(|shift| f64::from(self.next_u32() >> shift));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// `permutation(n)`: a Fisher-Yates shuffle of `0..n` from the end.
    pub(crate) fn permutation(&mut self, n: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n as usize).collect();
        for i in (1..n).rev() {
            let j = self.bounded(i);
            order.swap(i as usize, j as usize);
        }
        order
    }
}

/// Rows of one division into a training and a held-out part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShuffleSplit {
    /// The part that is kept, in random order.
    pub(crate) train: Vec<usize>,
    /// The part that is held out, in random order.
    pub(crate) test: Vec<usize>,
}

/// scikit-learn's `train_test_split(range(n), test_size, random_state=seed)` without stratification:
/// the first ceil(test_size n) entries of a permutation are held out, the others are kept.
pub(crate) fn shuffle_split(n: u32, test_size: f64, seed: u32) -> ShuffleSplit {
    let mut test = RandomState::new(seed).permutation(n);
    let held_out = (test_size * f64::from(n)).ceil() as usize;
    let train = test.split_off(held_out.min(test.len()));
    ShuffleSplit { train, test }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_of_seed_0() {
        let mut rng = RandomState::new(0);
        assert_eq!([(); 3].map(|()| rng.next_u32()), [2357136044, 2546248239, 3071714933]);
    }

    // numpy.random.RandomState(0).random_sample(2)
    #[test]
    fn uniform_numbers_of_seed_0() {
        let mut rng = RandomState::new(0);
        assert_eq!([(); 2].map(|()| rng.uniform()), [0.548_813_503_927_324_8, 0.715_189_366_372_419_5]);
    }

    #[test]
    fn permutation_of_the_ecg_records() {
        let order = RandomState::new(0).permutation(8528);
        assert_eq!(order[..8], [2044, 2916, 274, 6817, 4750, 7086, 3424, 1284]);
        assert_eq!(order[8520..], [3468, 6744, 5874, 4373, 7891, 4859, 3264, 2732]);
        assert_eq!(order[..853].iter().sum::<usize>(), 3_641_173);
        assert_eq!(order[..1706].iter().sum::<usize>(), 7_225_066);
    }

    #[test]
    fn permutation_of_the_held_out_records() {
        let order = RandomState::new(0).permutation(1706);
        assert_eq!(order[..5], [1541, 6, 251, 838, 310]);
        assert_eq!(order[..853].iter().sum::<usize>(), 728_420);
    }

    #[test]
    fn permuted_mnist_seed() {
        let order = RandomState::new(1111).permutation(784);
        assert_eq!(order[..10], [757, 580, 221, 234, 608, 119, 536, 328, 34, 663]);
    }

    #[test]
    fn degenerate_sizes() {
        assert_eq!(RandomState::new(0).permutation(0), [0usize; 0]);
        assert_eq!(RandomState::new(0).permutation(1), [0]);
        assert_eq!(shuffle_split(0, 0.1, 0), ShuffleSplit { train: vec![], test: vec![] });
    }

    #[test]
    fn split_of_the_ecg_records() {
        let split = shuffle_split(8528, 0.1, 0);
        assert_eq!((split.train.len(), split.test.len()), (7675, 853));
        assert_eq!(split.test[..3], [2044, 2916, 274]);
        assert_eq!(split.train[..3], [4865, 6526, 6813]);
    }
}
