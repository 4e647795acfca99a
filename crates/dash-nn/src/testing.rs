//! Shared by the tests of operations: test data and comparison with an f64 oracle.

use crate::backend::Backend;
use candle_core::{Result, Tensor, Var};

/// Pseudo-random values in (-1, 1), away from ties.
pub(crate) fn ramp(len: usize, salt: u64) -> Vec<f32> {
    (0..len as u64)
        .map(|i| {
            let h = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt << 32).rotate_left(31);
            let h = h.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
            (h as f32 / (1u64 << 24) as f32) * 2.0 - 1.0
        })
        .collect()
}

pub(crate) fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-3f64, |m, e| m.max(e.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f64::from(*f) - e).abs() <= tolerance * scale, "element {i}: {f} instead of {e}");
    }
}

/// Compares an operation's values with `oracle`, and its gradients with central differences of it,
/// under a random linear functional of the output (given through a non-contiguous gradient).
pub(crate) fn check_gradients(
    backend: &Backend,
    inputs: &[(Vec<usize>, Vec<f32>)],
    op: impl Fn(&[Tensor]) -> Result<Tensor>,
    oracle: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let vars: Vec<Var> = inputs
        .iter()
        .map(|(dims, v)| {
            Var::from_tensor(&Tensor::from_slice(v, dims.as_slice(), backend.device()).unwrap()).unwrap()
        })
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let out = op(&tensors).unwrap();
    let values: Vec<Vec<f64>> =
        inputs.iter().map(|(_, v)| v.iter().map(|&x| f64::from(x)).collect()).collect();
    assert_close(&out.flatten_all().unwrap().to_vec1().unwrap(), &oracle(&values), 1e-5);

    let direction = ramp(out.elem_count(), 99);
    let functional =
        |v: &[Vec<f64>]| -> f64 { oracle(v).iter().zip(&direction).map(|(o, &d)| o * f64::from(d)).sum() };
    // The transpose makes the gradient that reaches the operation non-contiguous.
    let reversed = match out.rank() {
        0 | 1 => out.clone(),
        r => out.transpose(r - 2, r - 1).unwrap(),
    };
    let d = Tensor::from_slice(&direction, out.shape(), backend.device()).unwrap();
    let d = match d.rank() {
        0 | 1 => d,
        r => d.transpose(r - 2, r - 1).unwrap(),
    };
    let grads = (reversed * d).unwrap().sum_all().unwrap().backward().unwrap();
    for (k, var) in vars.iter().enumerate() {
        let found: Vec<f32> = grads.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let step = 1e-6;
        let expected: Vec<f64> = (0..found.len())
            .map(|i| {
                let at = |delta: f64| {
                    let mut moved = values.clone();
                    moved[k][i] += delta;
                    functional(&moved)
                };
                (at(step) - at(-step)) / (2.0 * step)
            })
            .collect();
        assert_close(&found, &expected, 2e-4);
    }
}
