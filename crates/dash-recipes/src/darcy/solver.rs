//! Solves -div(a grad u) = f on the unit square with u = 0 on its boundary.
//!
//! Five-point finite volumes on s x s nodes, boundary included; the coefficient of a face is the
//! arithmetic mean of its two nodes, as in the generator of the benchmark's data. Solved by conjugate
//! gradients, preconditioned with the modified incomplete Cholesky factorisation without fill
//! (Gustafsson 1978), relaxed by 0.999. Every sum has a fixed order.

/// A discretised equation, scaled by h^2: sum over faces of a (u - u_neighbour) = h^2 f.
#[derive(Debug)]
pub(super) struct Equation {
    nodes: usize,
    /// Sum of the coefficients of the four faces; 1 on the boundary.
    diagonal: Vec<f64>,
    /// Coupling to the next node of the row; 0 where either is on the boundary.
    east: Vec<f64>,
    /// Coupling to the same node of the next row; 0 where either is on the boundary.
    south: Vec<f64>,
    /// Reciprocal diagonal of the incomplete factor; 0 on the boundary.
    factor: Vec<f64>,
}

/// A solution and how good it is.
#[derive(Debug)]
pub(super) struct Solution {
    /// Values at the nodes, row by row.
    pub(super) values: Vec<f64>,
    /// ||b - A u|| / ||b||, recomputed at the end.
    pub(super) residual: f64,
    /// Iterations done.
    pub(super) iterations: usize,
}

/// Share of the dropped fill-in that is put on the diagonal.
const RELAXATION: f64 = 0.999;

impl Equation {
    /// Discretises for a positive `coefficient` at `nodes` x `nodes` points, `nodes >= 3`.
    pub(super) fn new(nodes: usize, coefficient: &[f64]) -> Equation {
        let n = nodes;
        let interior = |i: usize, j: usize| i > 0 && i < n - 1 && j > 0 && j < n - 1;
        let mut equation = Equation {
            nodes,
            diagonal: vec![1.0; n * n],
            east: vec![0.0; n * n],
            south: vec![0.0; n * n],
            factor: vec![0.0; n * n],
        };
        for i in 1..n - 1 {
            for j in 1..n - 1 {
                let at = i * n + j;
                let face = |neighbour: usize| 0.5 * (coefficient[at] + coefficient[neighbour]);
                equation.diagonal[at] = face(at - n) + face(at - 1) + face(at + 1) + face(at + n);
                if interior(i, j + 1) {
                    equation.east[at] = face(at + 1);
                }
                if interior(i + 1, j) {
                    equation.south[at] = face(at + n);
                }
            }
        }
        equation.factorise();
        equation
    }

    fn factorise(&mut self) {
        let n = self.nodes;
        for i in 1..n - 1 {
            for j in 1..n - 1 {
                let (at, west, north) = (i * n + j, i * n + j - 1, (i - 1) * n + j);
                let (fw, fn_) = (self.factor[west], self.factor[north]);
                let (ew, sn) = (self.east[west] * fw, self.south[north] * fn_);
                let fill = ew * self.south[west] * fw + sn * self.east[north] * fn_;
                let pivot = self.diagonal[at] - ew * ew - sn * sn - RELAXATION * fill;
                self.factor[at] = 1.0 / pivot.sqrt();
            }
        }
    }

    /// Solves for the source `f` at the nodes until the residual relative to the right-hand side is at
    /// most `tolerance`, or `iterations` are done. The caller compares the residual.
    pub(super) fn solve(&self, source: &[f64], tolerance: f64, iterations: usize) -> Solution {
        let n = self.nodes;
        let h = 1.0 / (n - 1) as f64;
        let mut rhs = vec![0.0; n * n];
        for i in 1..n - 1 {
            for j in 1..n - 1 {
                rhs[i * n + j] = h * h * source[i * n + j];
            }
        }
        let norm = dot(&rhs, &rhs).sqrt();
        let mut values = vec![0.0; n * n];
        let mut done = 0;
        let mut residual = if norm > 0.0 { 1.0 } else { 0.0 };
        let mut remainder = rhs.clone();
        // The residual of the recursion drifts from the true one, so this is a loop: it restarts
        // from the solution so far.
        while residual > tolerance && done < iterations {
            done += self.iterate(&mut values, &mut remainder, tolerance * norm, iterations - done);
            self.apply(&values, &mut remainder);
            for (remainder, rhs) in remainder.iter_mut().zip(&rhs) {
                *remainder = rhs - *remainder;
            }
            residual = dot(&remainder, &remainder).sqrt() / norm;
            if residual.is_nan() {
                break;
            }
        }
        Solution { values, residual, iterations: done }
    }

    /// Conjugate gradients from `values` with residual `r`, until its norm is below `target`.
    /// Returns the number of iterations, at least one.
    fn iterate(&self, values: &mut [f64], r: &mut [f64], target: f64, most: usize) -> usize {
        let mut z = vec![0.0; r.len()];
        self.precondition(r, &mut z);
        let mut direction = z.clone();
        let mut image = vec![0.0; r.len()];
        let mut rho = dot(r, &z);
        for iteration in 1..=most {
            self.apply(&direction, &mut image);
            let step = rho / dot(&direction, &image);
            for (value, direction) in values.iter_mut().zip(&direction) {
                *value += step * direction;
            }
            for (r, image) in r.iter_mut().zip(&image) {
                *r -= step * image;
            }
            let norm = dot(r, r).sqrt();
            if norm <= target || !norm.is_finite() {
                return iteration;
            }
            self.precondition(r, &mut z);
            let next = dot(r, &z);
            let turn = next / rho;
            rho = next;
            for (direction, z) in direction.iter_mut().zip(&z) {
                *direction = z + turn * *direction;
            }
        }
        most.max(1)
    }

    /// `out` = A u. Boundary values stay 0.
    fn apply(&self, u: &[f64], out: &mut [f64]) {
        let n = self.nodes;
        for i in 1..n - 1 {
            let row = i * n;
            for at in row + 1..row + n - 1 {
                out[at] = self.diagonal[at] * u[at]
                    - self.east[at] * u[at + 1]
                    - self.east[at - 1] * u[at - 1]
                    - self.south[at] * u[at + n]
                    - self.south[at - n] * u[at - n];
            }
        }
    }

    /// `z` = M^-1 r with M = L L^T: a sweep down and a sweep up.
    fn precondition(&self, r: &[f64], z: &mut [f64]) {
        let n = self.nodes;
        for i in 1..n - 1 {
            let row = i * n;
            for at in row + 1..row + n - 1 {
                let west = self.east[at - 1] * self.factor[at - 1] * z[at - 1];
                let north = self.south[at - n] * self.factor[at - n] * z[at - n];
                z[at] = (r[at] + west + north) * self.factor[at];
            }
        }
        for i in (1..n - 1).rev() {
            let row = i * n;
            for at in (row + 1..row + n - 1).rev() {
                let coupled = self.east[at] * z[at + 1] + self.south[at] * z[at + n];
                z[at] = (z[at] + coupled * self.factor[at]) * self.factor[at];
            }
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    fn grid(n: usize, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let at = |i: usize| i as f64 / (n - 1) as f64;
        (0..n * n).map(|k| f(at(k / n), at(k % n))).collect()
    }

    /// u = sin(pi x) sin(2 pi y), a = 2 + sin(3x) cos(2y): f = -div(a grad u) by hand.
    #[test]
    fn manufactured_solution_converges_with_second_order() {
        let u = |x: f64, y: f64| (PI * x).sin() * (2.0 * PI * y).sin();
        let a = |x: f64, y: f64| 2.0 + (3.0 * x).sin() * (2.0 * y).cos();
        let f = |x: f64, y: f64| {
            let (ux, uy) = (
                PI * (PI * x).cos() * (2.0 * PI * y).sin(),
                2.0 * PI * (PI * x).sin() * (2.0 * PI * y).cos(),
            );
            let (ax, ay) =
                (3.0 * (3.0 * x).cos() * (2.0 * y).cos(), -2.0 * (3.0 * x).sin() * (2.0 * y).sin());
            5.0 * PI * PI * a(x, y) * u(x, y) - ax * ux - ay * uy
        };
        let errors: Vec<f64> = [17, 33, 65]
            .into_iter()
            .map(|n| {
                let solution = Equation::new(n, &grid(n, a)).solve(&grid(n, f), 1e-12, 1000);
                assert!(solution.residual <= 1e-12);
                let exact = grid(n, u);
                let worst = solution.values.iter().zip(exact).map(|(s, e)| (s - e).abs());
                worst.fold(0.0, f64::max)
            })
            .collect();
        for pair in errors.windows(2) {
            let order = (pair[0] / pair[1]).log2();
            assert!((1.9..2.1).contains(&order), "{errors:?}: order {order}");
        }
    }

    /// Gaussian elimination with pivoting on the dense matrix.
    fn dense(n: usize, a: &[f64], f: &[f64]) -> Vec<f64> {
        let m = n - 2;
        let h = 1.0 / (n - 1) as f64;
        let mut rows: Vec<Vec<f64>> = vec![vec![0.0; m * m + 1]; m * m];
        for i in 1..=m {
            for j in 1..=m {
                let row = &mut rows[(i - 1) * m + j - 1];
                for (ni, nj) in [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)] {
                    let face = (a[i * n + j] + a[ni * n + nj]) / 2.0 / (h * h);
                    row[(i - 1) * m + j - 1] += face;
                    if (1..=m).contains(&ni) && (1..=m).contains(&nj) {
                        row[(ni - 1) * m + nj - 1] -= face;
                    }
                }
                row[m * m] = f[i * n + j];
            }
        }
        for k in 0..m * m {
            let pivot = (k..m * m).max_by(|&p, &q| rows[p][k].abs().total_cmp(&rows[q][k].abs())).unwrap();
            rows.swap(k, pivot);
            let top = rows[k].clone();
            for (r, row) in rows.iter_mut().enumerate() {
                if r != k {
                    let factor = row[k] / top[k];
                    row.iter_mut().zip(&top).for_each(|(v, t)| *v -= factor * t);
                }
            }
        }
        let mut u = vec![0.0; n * n];
        for k in 0..m * m {
            u[(k / m + 1) * n + k % m + 1] = rows[k][m * m] / rows[k][k];
        }
        u
    }

    #[test]
    fn discontinuous_coefficients_agree_with_a_dense_direct_solve() {
        let n = 12;
        // A pattern without symmetry, so that a transposed axis would show.
        let a: Vec<f64> = (0..n * n).map(|k| if (k * k + 3 * k / n) % 7 < 3 { 3.0 } else { 12.0 }).collect();
        let f: Vec<f64> = (0..n * n).map(|k| 1.0 + (k % 5) as f64).collect();
        let solution = Equation::new(n, &a).solve(&f, 1e-13, 1000);
        let exact = dense(n, &a, &f);
        let scale = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (value, exact) in solution.values.iter().zip(exact) {
            assert!((value - exact).abs() < 1e-11 * scale);
        }
    }

    #[test]
    fn the_reported_residual_is_the_true_one_also_without_convergence() {
        let n = 33;
        let a = grid(n, |x, y| if (5.0 * x).sin() + (7.0 * y).cos() > 0.5 { 12.0 } else { 3.0 });
        let few = Equation::new(n, &a).solve(&vec![1.0; n * n], 1e-10, 3);
        assert_eq!(few.iterations, 3);
        assert!(few.residual > 1e-10);
        let hopeless = Equation::new(n, &a).solve(&vec![1.0; n * n], 1e-30, 200);
        assert!(hopeless.residual > 1e-30 && hopeless.residual < 1e-12, "{}", hopeless.residual);
    }

    #[test]
    fn no_source_gives_no_pressure() {
        let solution = Equation::new(5, &[1.0; 25]).solve(&[0.0; 25], 1e-10, 10);
        assert_eq!(solution.values, [0.0; 25]);
        assert_eq!(solution.iterations, 0);
    }
}
