//! How feature maps are divided into tiles for transforms in shared memory.

use super::segments::{Segment, Segments, Tiling};
use crate::{
    ConvProblem,
    spectral::{AxisTiling, TiledAxis, gcd},
};
use std::sync::Arc;

/// One axis: tiles for the output and the gradient of the weights, and for the gradient of the input.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) forward: TiledAxis,
    pub(super) back: TiledAxis,
    stride: usize,
}

impl Axis {
    /// All that are worth a comparison.
    pub(super) fn candidates(problem: &ConvProblem, axis: usize) -> Vec<Axis> {
        let mut found: Vec<Axis> = Vec::new();
        // Short tiles waste most of their transform, but large ones may not fit in shared memory.
        for tiling in AxisTiling::candidates(problem, axis, |extent| extent / 4) {
            let stride = problem.stride[axis];
            let new = Axis { forward: tiling.forward(fast), back: tiling.backward(fast), stride };
            if !found.contains(&new) {
                found.push(new);
            }
        }
        found
    }

    /// Length of a transform.
    fn len(&self) -> usize {
        self.forward.len
    }

    /// Segments of x, of y, of the gradient of y, and of that of x.
    fn segments(&self) -> [Segments; 4] {
        let (forward, back) = (&self.forward, &self.back);
        let x = forward.tiles.iter().map(|p| Segment { start: p.in_start, len: p.in_len, at: p.in_at });
        let y = forward.tiles.iter().map(|p| Segment { start: p.out_start, len: p.out_len, at: p.out_at });
        let dx = back.tiles.iter().map(|p| Segment { start: p.out_start, len: p.out_len, at: p.out_at });
        // The gradient is at multiples of the stride: those in a segment of positions form a segment themselves.
        let common = gcd(self.stride, back.dilation);
        let period = self.stride / common;
        let grad = back.tiles.iter().map(|p| {
            let position = |j: usize| p.in_start + back.dilation * j;
            match (0..period.min(p.in_len)).find(|&j| position(j).is_multiple_of(self.stride)) {
                Some(first) => Segment {
                    start: position(first) / self.stride,
                    len: (p.in_len - first).div_ceil(period),
                    at: p.in_at + first,
                },
                None => Segment { start: 0, len: 0, at: 0 },
            }
        });
        [
            Segments { step: forward.dilation, stride: 1, segments: x.collect() },
            Segments { step: forward.out_step, stride: forward.out_stride, segments: y.collect() },
            Segments { step: back.dilation / common, stride: period, segments: grad.collect() },
            Segments { step: back.out_step, stride: back.out_stride, segments: dx.collect() },
        ]
    }
}

/// Both axes of a convolution, divided into tiles.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GpuTiling {
    pub(super) rows: Arc<Axis>,
    pub(super) columns: Arc<Axis>,
}

impl GpuTiling {
    /// Rows and columns of a transform.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// The number of tiles of an output map.
    pub(crate) fn count(&self) -> usize {
        self.rows.forward.tiles.len() * self.columns.forward.tiles.len()
    }

    /// The tiling as kernels take it.
    pub(crate) fn segments(&self) -> Tiling {
        let [[x, y, grad, dx], [x_, y_, grad_, dx_]] =
            [&self.rows, &self.columns].map(|axis| axis.segments());
        Tiling {
            size: self.size(),
            dilation: [self.rows.forward.dilation, self.columns.forward.dilation],
            x: [x, x_],
            y: [y, y_],
            grad: [grad, grad_],
            dx: [dx, dx_],
        }
    }
}

/// Passes through shared memory of the transform of a line, weighed by their arithmetic; `None` for other factors than
/// 2, 3 and 5.
fn passes(len: usize) -> Option<f64> {
    let (mut rest, mut passes) = (len, 0.0);
    for (radix, pass) in [(4, 1.0), (2, 0.8), (3, 1.0), (5, 1.3)] {
        while rest > 0 && rest.is_multiple_of(radix) {
            rest /= radix;
            passes += pass;
        }
    }
    (rest == 1).then_some(passes)
}

/// The length of the fastest transform of at least `least` elements.
fn fast(least: usize) -> usize {
    let least = least.max(1);
    // Between n and 2 n there is always a power of two. Loading and storing are worth two passes.
    let lengths = least..=least.next_power_of_two();
    let costs = lengths.filter_map(|n| passes(n).map(|passes| (n, n as f64 * (passes + 2.0))));
    costs.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(least.next_power_of_two(), |(n, _)| n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::problem};

    #[test]
    fn lengths_have_small_factors_and_are_not_much_longer_than_needed() {
        assert_eq!([1, 7, 61, 1031].map(fast), [1, 8, 64, 1080]);
        for least in 1..3000 {
            let len = fast(least);
            assert!(
                passes(len).is_some() && len >= least && len as f64 <= 1.34 * least as f64 + 2.0,
                "{least}"
            );
        }
    }

    /// The gradient of the input, tile by tile with naive circular sums, is that of the whole.
    #[test]
    fn gradients_of_tiles_together_are_the_whole_gradient() {
        for (size, stride, kernel, dilation) in [
            (13, 1, 3, 1),
            (13, 2, 3, 1),
            (32, 2, 5, 3),
            (30, 3, 3, 6),
            (31, 2, 3, 4),
            (5, 3, 7, 4),
            (40, 2, 9, 2),
        ] {
            let taps = TapSet::centred(1, kernel, dilation).unwrap();
            let problem = problem(&taps, [1, 1, 1, 1], [1, size], [1, stride]);
            let out = size.div_ceil(stride);
            let grad: Vec<f64> = (0..out).map(|i| ((5 * i) % 7) as f64 - 3.0).collect();
            let weights: Vec<(i64, f64)> =
                problem.offsets.iter().enumerate().map(|(i, o)| (i64::from(o[1]), (i + 1) as f64)).collect();
            let mut expected = vec![0.0; size];
            for (q, g) in grad.iter().enumerate() {
                for (offset, w) in &weights {
                    if let Some(dx) =
                        usize::try_from((q * stride) as i64 + offset).ok().and_then(|at| expected.get_mut(at))
                    {
                        *dx += w * g;
                    }
                }
            }
            for axis in Axis::candidates(&problem, 1) {
                let ([_, _, from, to], len) = (axis.segments(), axis.len());
                let mut dx = vec![f64::NAN; size];
                for (source, target) in from.segments.iter().zip(&to.segments) {
                    let mut tile = vec![0.0; len];
                    for i in 0..source.len {
                        tile[source.at + from.stride * i] = grad[source.start + from.step * i];
                    }
                    for i in 0..target.len {
                        let at = target.at + to.stride * i;
                        let term = |&(o, w): &(i64, f64)| {
                            let index = at as i64 - o / axis.back.dilation as i64;
                            w * tile[index.rem_euclid(len as i64) as usize]
                        };
                        dx[target.start + to.step * i] = weights.iter().map(term).sum();
                    }
                }
                assert_eq!(dx, expected, "{size} {stride} {kernel} {dilation}: {axis:?}");
            }
        }
    }
}
