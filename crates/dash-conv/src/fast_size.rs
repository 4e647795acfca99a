//! Transform lengths that the FFT computes fast.

/// The factor by which the cost per butterfly exceeds that of a power of two, by odd prime factor: a
/// rough model of RustFFT on AVX2, to be replaced by a measured table.
const ODD_FACTOR: [(usize, f64); 3] = [(5, 1.12), (7, 1.2), (11, 1.3)];

/// The same for each factor 3 after the first: 3 times a power of two is as fast as the power.
const THREE: f64 = 1.06;

/// Relative cost of a transform of length `n`, or `None` if `n` is not a fast length: fast lengths
/// are even (a real transform of even length is half a complex one) and of the form
/// 2^a 3^b, times 5, 7 or 11 at most once.
fn cost(n: usize) -> Option<f64> {
    let mut rest = n;
    let mut slow = 1.0;
    for (prime, factor) in ODD_FACTOR {
        if rest.is_multiple_of(prime) {
            rest /= prime;
            slow *= factor;
        }
    }
    let mut threes = 0i32;
    while rest.is_multiple_of(3) {
        rest /= 3;
        threes += 1;
    }
    slow *= THREE.powi((threes - 1).max(0));
    (n.is_multiple_of(2) && rest.is_power_of_two()).then(|| slow * n as f64 * (n as f64).log2().max(1.0))
}

/// The fastest transform length that is at least `least`. A length of one stays one: an axis of one
/// position whose only reachable tap is its own needs no transform.
pub(crate) fn fast_size(least: usize) -> usize {
    if least <= 1 {
        return 1;
    }
    // Between n and 2 n there is always a power of two.
    let candidates = (least..=least.next_power_of_two()).filter_map(|n| cost(n).map(|c| (n, c)));
    candidates.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(least.next_power_of_two(), |(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_large_enough_even_and_not_wasteful() {
        for least in 2..3000 {
            let n = fast_size(least);
            assert!(n >= least && n.is_multiple_of(2), "{least} -> {n}");
            assert!(least < 16 || n as f64 <= 1.34 * least as f64, "{least} -> {n}");
        }
    }

    #[test]
    fn slow_primes_of_the_published_sizes_are_avoided() {
        assert_eq!(fast_size(1), 1);
        assert_eq!(fast_size(152), 160);
        assert_eq!(fast_size(64), 64);
        assert_eq!(fast_size(94), 96);
    }
}
