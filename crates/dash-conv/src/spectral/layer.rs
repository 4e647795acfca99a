//! A convolution in the Fourier domain: what is built once per problem, and the planes that it transforms.

use super::{
    kernel_planes::{KernelPlanes, TapRow},
    tiling::{Tile, TiledAxis, Tiling},
    transform::{RowLayout, Transform},
};
use crate::{
    ConvProblem, Error,
    planes::{FeatureMaps, Planes, Segment},
    simd,
};
use pulp::Arch;
use std::ops::Range;

/// The convolution of one problem in the Fourier domain.
pub(crate) struct Spectral {
    pub(super) problem: ConvProblem,
    pub(super) tiling: Tiling,
    pub(super) transform: Transform,
    /// The inputs and the outputs of the tiles, along rows and along columns.
    in_segments: [Vec<Segment>; 2],
    out_segments: [Vec<Segment>; 2],
    /// The transform rows that hold taps.
    tap_rows: Vec<TapRow>,
}

/// The side whose channels fill the lanes of kernel spectra.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneSide {
    Inputs,
    Outputs,
}

/// The inputs of the tiles of an axis.
fn in_segments(axis: &TiledAxis) -> Vec<Segment> {
    let segment = |tile: &Tile| Segment {
        start: tile.in_start,
        step: axis.dilation,
        len: tile.in_len,
        at: tile.in_at,
        stride: 1,
    };
    axis.tiles.iter().map(segment).collect()
}

/// The outputs of the tiles of an axis.
fn out_segments(axis: &TiledAxis) -> Vec<Segment> {
    let segment = |tile: &Tile| Segment {
        start: tile.out_start,
        step: axis.out_step,
        len: tile.out_len,
        at: tile.out_at,
        stride: axis.out_stride,
    };
    axis.tiles.iter().map(segment).collect()
}

impl Spectral {
    /// Builds the convolution with feature maps divided by `tiling`.
    ///
    /// # Errors
    /// [`Error::TransformLength`] if a length has a prime factor above 5.
    pub(crate) fn new(problem: &ConvProblem, tiling: Tiling) -> Result<Self, Error> {
        Spectral::with_arch(problem, tiling, simd::arch())
    }

    /// The same with the vectors of a given instruction set.
    pub(super) fn with_arch(problem: &ConvProblem, tiling: Tiling, arch: Arch) -> Result<Self, Error> {
        let axes = [&*tiling.rows, &*tiling.columns];
        let wrap = |offset: i32, axis: &TiledAxis| {
            (i64::from(offset) / axis.dilation as i64).rem_euclid(axis.len as i64) as usize
        };
        let mut by_row: Vec<Vec<(usize, usize)>> = vec![Vec::new(); axes[0].len];
        for (offset, &tap_index) in problem.offsets.iter().zip(&problem.tap_indices) {
            by_row[wrap(offset[0], axes[0])].push((wrap(offset[1], axes[1]), tap_index));
        }
        let tap_rows = by_row.into_iter().enumerate().map(|(row, taps)| TapRow { row, taps });
        Ok(Spectral {
            transform: Transform::new(axes.map(|axis| axis.len), arch)?,
            in_segments: axes.map(in_segments),
            out_segments: axes.map(out_segments),
            tap_rows: tap_rows.filter(|row| !row.taps.is_empty()).collect(),
            problem: problem.clone(),
            tiling,
        })
    }

    /// The layout of transformed rows: with a single transform row, they are complete spectra.
    pub(super) fn row_layout(&self) -> RowLayout {
        if self.transform.size[0] == 1 { RowLayout::Spectra } else { RowLayout::Intermediate }
    }

    /// The input maps of some samples, of one group.
    pub(super) fn inputs(&self, samples: Range<usize>, group: usize) -> FeatureMaps<'_> {
        let p = &self.problem;
        let channels =
            if p.is_depthwise() { 0..p.c_in } else { group * p.group_in()..(group + 1) * p.group_in() };
        FeatureMaps::new(samples, p.c_in, channels, p.size, &self.in_segments)
    }

    /// The output maps of some samples, of one group.
    pub(super) fn outputs(&self, samples: Range<usize>, group: usize) -> FeatureMaps<'_> {
        let p = &self.problem;
        let channels =
            if p.is_depthwise() { 0..p.c_out } else { group * p.group_out()..(group + 1) * p.group_out() };
        FeatureMaps::new(samples, p.c_out, channels, p.out_size(), &self.out_segments)
    }

    /// The factor that a forward and an inverse transform leave to be applied: each real transform doubles.
    fn scale(&self) -> f32 {
        1.0 / (4 * self.transform.size[0] * self.transform.size[1]) as f32
    }

    /// The kernels of a depthwise layer.
    pub(super) fn depthwise_kernels(&self) -> KernelPlanes<'_> {
        let p = &self.problem;
        KernelPlanes {
            planes: Planes::new(1, p.c_in),
            start: 0,
            strides: [0, p.taps],
            rows: &self.tap_rows,
            scale: self.scale(),
        }
    }

    /// The kernels of one group.
    pub(super) fn kernels(&self, group: usize, lanes: LaneSide) -> KernelPlanes<'_> {
        let p = &self.problem;
        let (gi, go) = (p.group_in(), p.group_out());
        let (outer, channels, strides) = match lanes {
            LaneSide::Outputs => (gi, go, [p.taps, gi * p.taps]),
            LaneSide::Inputs => (go, gi, [gi * p.taps, p.taps]),
        };
        KernelPlanes {
            planes: Planes::new(outer, channels),
            start: group * go * gi * p.taps,
            strides,
            rows: &self.tap_rows,
            scale: self.scale(),
        }
    }
}
