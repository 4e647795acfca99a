//! Computes the convolution as it is defined, by a naive sum in double precision. Tests compare every algorithm with it,
//! here and in the crates above.

use crate::ConvProblem;

/// The gradients of a scalar loss.
#[derive(Debug, Clone, PartialEq)]
pub struct OracleGradients {
    /// Gradient of the input, `[batch, c_in, positions]`.
    pub input: Vec<f64>,
    /// Gradient of the weights, `[c_out, c_in / groups, taps]`.
    pub weights: Vec<f64>,
    /// Gradient of the bias, `[c_out]`.
    pub bias: Vec<f64>,
}

/// Calls `f(output index, input index, weight index)` for every product of the sum.
fn products(p: &ConvProblem, mut f: impl FnMut(usize, usize, usize)) {
    let ([rows, columns], [h, w]) = (p.out_size(), p.size);
    for b in 0..p.batch {
        for o in 0..p.c_out {
            for i in 0..p.group_in() {
                let channel = o / p.group_out() * p.group_in() + i;
                for (offset, tap_index) in p.offsets.iter().zip(&p.tap_indices) {
                    for r in 0..rows {
                        for c in 0..columns {
                            let y = (r * p.stride[0]) as i64 + i64::from(offset[0]);
                            let x = (c * p.stride[1]) as i64 + i64::from(offset[1]);
                            if y < 0 || y >= h as i64 || x < 0 || x >= w as i64 {
                                continue;
                            }
                            let source = ((b * p.c_in + channel) * h + y as usize) * w + x as usize;
                            let target = ((b * p.c_out + o) * rows + r) * columns + c;
                            f(target, source, (o * p.group_in() + i) * p.taps + tap_index);
                        }
                    }
                }
            }
        }
    }
}

/// The convolution of `x [batch, c_in, positions]` with `weights [c_out, c_in / groups, taps]`, plus `bias [c_out]`:
/// `[batch, c_out, output positions]`.
pub fn forward(p: &ConvProblem, x: &[f64], weights: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = (0..p.lens()[2]).map(|index| bias[index / p.out_plane() % p.c_out]).collect();
    products(p, |target, source, weight| y[target] += x[source] * weights[weight]);
    y
}

/// The gradients of `<grad, forward(x, weights, bias)>`.
pub fn backward(p: &ConvProblem, x: &[f64], weights: &[f64], grad: &[f64]) -> OracleGradients {
    let mut g = OracleGradients {
        input: vec![0.0; p.lens()[0]],
        weights: vec![0.0; p.lens()[1]],
        bias: vec![0.0; p.c_out],
    };
    for (index, value) in grad.iter().enumerate() {
        g.bias[index / p.out_plane() % p.c_out] += value;
    }
    products(p, |target, source, weight| {
        g.input[source] += grad[target] * weights[weight];
        g.weights[weight] += grad[target] * x[source];
    });
    g
}
