//! The Fourier algorithm: DASH, section 4.2, with the reachable crop, short transforms and pieces.
//!
//! With the kernel's tap `o` at index `o mod N`, spectra obey `Y = X conj(W)`, `dX = G W` and
//! `dW = conj(G) X` (section 4.3). Maps are cut into pieces ([`geometry`]); planes are transformed
//! side by side in vector lanes ([`lanes`], [`crate::maps`], [`transform`], [`vectors`]); then layers differ:
//! [`depthwise`] or [`dense`].

mod dense;
mod depthwise;
mod geometry;
mod kernels;
mod lanes;
mod product;
mod transform;
mod vectors;

use crate::{
    ConvProblem, Error,
    maps::{Maps, Planes, Segment},
    op::Kernel,
    simd,
};
use dense::Lanes;
use geometry::{Axis, Geometry, Piece};
use kernels::Kernels;
use pulp::Arch;
use std::ops::Range;
use transform::Transform;

pub(crate) use geometry::{Axis as CutAxis, Geometry as Pieces, Way, gcd};

/// The convolution of one problem in the Fourier domain.
pub(crate) struct Spectral {
    problem: ConvProblem,
    geometry: Geometry,
    transform: Transform,
    in_runs: [Vec<Segment>; 2],
    out_runs: [Vec<Segment>; 2],
    /// Transform rows that hold taps, each with the columns and places of its taps.
    taps: Vec<(usize, Vec<(usize, usize)>)>,
}

/// The inputs of the pieces of an axis.
fn in_runs(axis: &Axis) -> Vec<Segment> {
    let run = |p: &Piece| (p.in_start, p.in_len, p.in_at);
    runs(axis, axis.dilation, 1, run)
}

/// The outputs of the pieces of an axis.
fn out_runs(axis: &Axis) -> Vec<Segment> {
    let run = |p: &Piece| (p.out_start, p.out_len, p.out_at);
    runs(axis, axis.out_step, axis.out_stride, run)
}

fn runs(
    axis: &Axis,
    step: usize,
    stride: usize,
    run: impl Fn(&Piece) -> (usize, usize, usize),
) -> Vec<Segment> {
    let run = |piece| {
        let (start, len, at) = run(piece);
        Segment { start, step, len, at, stride }
    };
    axis.pieces.iter().map(run).collect()
}

impl Spectral {
    /// Builds the convolution with maps cut as `geometry` says.
    pub(crate) fn new(problem: &ConvProblem, geometry: Geometry) -> Result<Self, Error> {
        Spectral::with_arch(problem, geometry, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    fn with_arch(problem: &ConvProblem, geometry: Geometry, arch: Arch) -> Result<Self, Error> {
        let axes = [&geometry.rows, &geometry.columns];
        let wrap = |offset: i32, axis: &Axis| {
            (i64::from(offset) / axis.dilation as i64).rem_euclid(axis.len as i64) as usize
        };
        let mut by_row: Vec<Vec<(usize, usize)>> = vec![Vec::new(); axes[0].len];
        for (offset, &place) in problem.offsets.iter().zip(&problem.tap_indices) {
            by_row[wrap(offset[0], axes[0])].push((wrap(offset[1], axes[1]), place));
        }
        Ok(Spectral {
            transform: Transform::new(axes.map(|axis| axis.len), arch)?,
            in_runs: axes.map(in_runs),
            out_runs: axes.map(out_runs),
            taps: by_row.into_iter().enumerate().filter(|(_, taps)| !taps.is_empty()).collect(),
            problem: problem.clone(),
            geometry,
        })
    }

    /// Whether there is one axis only.
    fn planar(&self) -> bool {
        self.transform.size[0] == 1
    }

    /// The input maps of some samples, of one group.
    fn inputs(&self, samples: Range<usize>, group: usize) -> Maps<'_> {
        let p = &self.problem;
        let channels =
            if p.is_depthwise() { 0..p.c_in } else { group * p.group_in()..(group + 1) * p.group_in() };
        Maps::new(samples, p.c_in, channels, p.size, &self.in_runs)
    }

    /// The output maps of some samples, of one group.
    fn outputs(&self, samples: Range<usize>, group: usize) -> Maps<'_> {
        let p = &self.problem;
        let channels =
            if p.is_depthwise() { 0..p.c_out } else { group * p.group_out()..(group + 1) * p.group_out() };
        Maps::new(samples, p.c_out, channels, p.out_size(), &self.out_runs)
    }

    /// What a round trip must be scaled with: each real transform doubles.
    fn scale(&self) -> f32 {
        1.0 / (4 * self.transform.size[0] * self.transform.size[1]) as f32
    }

    /// The kernels of a depthwise layer.
    fn channel_kernels(&self) -> Kernels<'_> {
        let p = &self.problem;
        let planes = Planes::new(1, p.c_in);
        Kernels { planes, start: 0, distances: [0, p.taps], taps: &self.taps, scale: self.scale() }
    }

    /// The kernels of one group.
    fn kernels(&self, group: usize, lanes: Lanes) -> Kernels<'_> {
        let p = &self.problem;
        let (gi, go) = (p.group_in(), p.group_out());
        let (outer, channels, distances) = match lanes {
            Lanes::Outputs => (gi, go, [p.taps, gi * p.taps]),
            Lanes::Inputs => (go, gi, [gi * p.taps, p.taps]),
        };
        let planes = Planes::new(outer, channels);
        Kernels { planes, start: group * go * gi * p.taps, distances, taps: &self.taps, scale: self.scale() }
    }
}

impl Kernel for Spectral {
    fn forward(&self, x: &[f32], weights: &[f32], bias: &[f32], y: &mut [f32]) {
        if self.problem.is_depthwise() {
            self.forward_depthwise(x, weights, bias, y);
        } else {
            self.forward_dense(x, weights, bias, y);
        }
    }

    fn backward(&self, x: &[f32], weights: &[f32], grad: &[f32], dx: Option<&mut [f32]>, dw: &mut [f32]) {
        if self.problem.is_depthwise() {
            self.backward_depthwise(x, weights, grad, dx, dw);
        } else {
            self.backward_dense(x, weights, grad, dx, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::against_oracle};

    fn check(problem: &ConvProblem, geometry: Geometry) {
        against_oracle(problem, &format!("{geometry:?}"), 3e-6, |arch| {
            Spectral::with_arch(problem, geometry.clone(), arch).unwrap()
        });
    }

    #[test]
    fn every_way_to_cut_maps_equals_the_oracle() {
        let two = |k, d| TapSet::centred(2, k, d).unwrap();
        let one = |k, d| TapSet::centred(1, k, d).unwrap();
        // Channels below, at and above the width of vectors; strides; dilations; lopsided maps.
        for (taps, [batch, c_in, c_out, groups], size, stride) in [
            (one(3, 1), [3, 1, 2, 1], [1, 37], [1, 1]),
            (one(5, 3), [2, 3, 5, 1], [1, 40], [1, 2]),
            (one(7, 2), [5, 17, 3, 1], [1, 21], [1, 1]),
            (TapSet::causal(4, 3).unwrap(), [2, 4, 4, 4], [1, 33], [1, 1]),
            (two(3, 1), [2, 5, 18, 1], [9, 14], [1, 1]),
            (two(3, 2), [2, 3, 4, 1], [11, 6], [2, 2]),
            (two(5, 3), [1, 20, 20, 20], [10, 13], [1, 1]),
            (two(3, 4), [4, 3, 3, 3], [9, 9], [2, 2]),
            (two(3, 1), [2, 4, 6, 2], [8, 12], [1, 1]),
        ] {
            let problem = ConvProblem::new(&taps, batch, c_in, c_out, groups, size, stride).unwrap();
            for geometry in Geometry::candidates(&problem) {
                check(&problem, geometry);
            }
        }
    }

    /// Enough bundles that each is taken all the way by one task.
    #[test]
    fn many_depthwise_maps_equal_the_oracle() {
        for (batch, channels, size) in [(40, 8, [1, 30]), (9, 33, [6, 7]), (70, 5, [4, 4])] {
            let dims = if size[0] == 1 { 1 } else { 2 };
            let taps = TapSet::centred(dims, 3, 2).unwrap();
            let problem = ConvProblem::new(&taps, batch, channels, channels, channels, size, [1, 1]).unwrap();
            check(&problem, Geometry::whole(&problem));
        }
    }

    #[test]
    fn long_rows_equal_the_oracle() {
        let taps = TapSet::centred(1, 5, 1000).unwrap();
        for (c_out, groups) in [(2, 1), (3, 3)] {
            let problem = ConvProblem::new(&taps, 1, 3, c_out, groups, [1, 9000], [1, 1]).unwrap();
            let geometry = Geometry::whole(&problem);
            check(&problem, geometry);
        }
    }
}
