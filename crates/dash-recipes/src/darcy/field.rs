//! Draws Gaussian random fields on the unit square with Neumann boundary and covariance
//! tau^(2 alpha - 2) (-Laplacian + tau^2)^-alpha, without constant mode.
//!
//! The field is a cosine series with independent normal coefficients (its Karhunen-Loeve expansion),
//! cut off at the highest frequency of the grid and evaluated at the grid's nodes. With the nodes at
//! cell centres this is the orthonormal inverse cosine transform of the Fourier neural operator's
//! generator (Li et al. 2021); at the nodes of the finite-volume grid no interpolation is needed.

use dash_core::random::{ChaCha8Rng, standard_normal};
use std::f64::consts::{PI, SQRT_2};

/// A series of cosines on a grid of `nodes` x `nodes` points, boundary included.
#[derive(Debug)]
pub(super) struct GaussianField {
    nodes: usize,
    /// Standard deviation of each coefficient, `k1` slow.
    deviation: Vec<f64>,
    /// Values of the normalised basis: `basis[k * nodes + j]` = b_k cos(pi k j / (nodes - 1)).
    basis: Vec<f64>,
}

impl GaussianField {
    /// A field on `nodes >= 2` points per axis.
    pub(super) fn new(nodes: usize, tau: f64, alpha: f64) -> Self {
        let mut deviation = vec![0.0; nodes * nodes];
        for k1 in 0..nodes {
            for k2 in 0..nodes {
                let eigenvalue = PI * PI * (k1 * k1 + k2 * k2) as f64 + tau * tau;
                deviation[k1 * nodes + k2] =
                    libm::pow(tau, alpha - 1.0) * libm::pow(eigenvalue, -alpha / 2.0);
            }
        }
        deviation[0] = 0.0;
        let period = 2 * (nodes - 1);
        // Reduced to one period, so that high frequencies are as exact as low ones.
        let cosine = |k: usize, j: usize| libm::cos(PI * ((k * j) % period) as f64 / (nodes - 1) as f64);
        let mut basis = vec![0.0; nodes * nodes];
        for k in 0..nodes {
            for j in 0..nodes {
                basis[k * nodes + j] = if k == 0 { 1.0 } else { SQRT_2 * cosine(k, j) };
            }
        }
        GaussianField { nodes, deviation, basis }
    }

    /// Draws a field: its value at each node, row by row.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let coefficients: Vec<f64> =
            self.deviation.iter().map(|deviation| deviation * standard_normal(rng)).collect();
        self.evaluate(&coefficients)
    }

    /// The sum of the series, one axis after the other: basis^T C basis.
    fn evaluate(&self, coefficients: &[f64]) -> Vec<f64> {
        let n = self.nodes;
        let mut half = vec![0.0; n * n];
        for (row, out) in coefficients.chunks_exact(n).zip(half.chunks_exact_mut(n)) {
            for (coefficient, wave) in row.iter().zip(self.basis.chunks_exact(n)) {
                add_scaled(out, *coefficient, wave);
            }
        }
        let mut field = vec![0.0; n * n];
        for (wave, row) in self.basis.chunks_exact(n).zip(half.chunks_exact(n)) {
            for (value, out) in wave.iter().zip(field.chunks_exact_mut(n)) {
                add_scaled(out, *value, row);
            }
        }
        field
    }
}

fn add_scaled(out: &mut [f64], factor: f64, values: &[f64]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out += factor * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dash_core::random::{Purpose, stream};

    #[test]
    fn separable_sum_equals_the_naive_sum() {
        let n = 9;
        let field = GaussianField::new(n, 3.0, 2.0);
        let coefficients: Vec<f64> = (0..n * n).map(|i| ((i * 37 + 11) % 23) as f64 - 11.0).collect();
        let fast = field.evaluate(&coefficients);
        for i in 0..n {
            for j in 0..n {
                let mut sum = 0.0;
                for k1 in 0..n {
                    for k2 in 0..n {
                        let norm =
                            if k1 == 0 { 1.0 } else { 2f64.sqrt() } * if k2 == 0 { 1.0 } else { 2f64.sqrt() };
                        let (x, y) = (i as f64 / 8.0, j as f64 / 8.0);
                        sum += coefficients[k1 * n + k2]
                            * norm
                            * (PI * k1 as f64 * x).cos()
                            * (PI * k2 as f64 * y).cos();
                    }
                }
                assert!((fast[i * n + j] - sum).abs() < 1e-10, "{i} {j}: {} {sum}", fast[i * n + j]);
            }
        }
    }

    /// Cov(f(x), f(y)) = sum over k of tau^(2a-2) (pi^2 |k|^2 + tau^2)^-a phi_k(x) phi_k(y).
    #[test]
    fn covariance_is_the_stated_one() {
        let (n, tau, alpha) = (17usize, 3.0f64, 2.0f64);
        let field = GaussianField::new(n, tau, alpha);
        let covariance = |a: (usize, usize), b: (usize, usize)| {
            let phi = |k: usize, j: usize| {
                (if k == 0 { 1.0 } else { 2f64.sqrt() }) * (PI * k as f64 * j as f64 / 16.0).cos()
            };
            let mut sum = 0.0;
            for k1 in 0..n {
                for k2 in 0..n {
                    if k1 + k2 > 0 {
                        let lambda = tau.powf(2.0 * alpha - 2.0)
                            * (PI * PI * (k1 * k1 + k2 * k2) as f64 + tau * tau).powf(-alpha);
                        sum += lambda * phi(k1, a.0) * phi(k1, b.0) * phi(k2, a.1) * phi(k2, b.1);
                    }
                }
            }
            sum
        };
        let draws: Vec<Vec<f64>> = (0..4000)
            .map(|instance| field.draw(&mut stream(7, Purpose::Simulation, [instance, 0, 0])))
            .collect();
        for (a, b) in [((8, 8), (8, 8)), ((0, 0), (0, 0)), ((8, 8), (8, 11)), ((2, 5), (14, 9))] {
            let products = draws.iter().map(|f| f[a.0 * n + a.1] * f[b.0 * n + b.1]);
            let estimate = products.sum::<f64>() / draws.len() as f64;
            let exact = covariance(a, b);
            // Standard error of a product of two normals: sqrt((v_a v_b + c^2) / n).
            let error = ((covariance(a, a) * covariance(b, b) + exact * exact) / draws.len() as f64).sqrt();
            assert!((estimate - exact).abs() < 4.0 * error, "{a:?} {b:?}: {estimate} {exact} {error}");
        }
    }
}
