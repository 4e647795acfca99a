//! Describes how maps are divided into tiles that are transformed independently.

use dash_cuda::{DeviceBuffer, Error, Gpu};

/// Numbers of a map in a transform, along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The first number of the map.
    pub(crate) start: usize,
    /// How many.
    pub(crate) len: usize,
    /// The place of the first in the transform.
    pub(crate) at: usize,
}

/// The runs of an axis: number `at + stride i` of the transform of a run is number `start + step i` of the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Distance of neighbours in the map.
    pub(crate) step: usize,
    /// The same in the transform.
    pub(crate) stride: usize,
    /// The runs.
    pub(crate) segments: Vec<Segment>,
}

/// How the maps of a convolution are cut: along rows and along columns. A piece is a pair of runs.
///
/// A piece of y is what a piece of x determines by a circular convolution of the transform's size, so that runs of both
/// belong together. Those of the gradient of y, and of the gradient of x that they determine, may be others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Rows and columns of a transform, without factors but 2, 3 and 5. Each takes 8 bytes of shared memory per number.
    pub(crate) size: [usize; 2],
    /// Offsets of taps are multiples of this.
    pub(crate) dilation: [usize; 2],
    /// Of the input.
    pub(crate) x: [Segments; 2],
    /// Of the result: every number is in one of these.
    pub(crate) y: [Segments; 2],
    /// Of the gradient of the result, for that of the input.
    pub(crate) grad: [Segments; 2],
    /// Of the gradient of the input: every number is in one of these.
    pub(crate) dx: [Segments; 2],
}

/// A cut on a GPU.
#[derive(Debug)]
pub(crate) struct TilingTable {
    pub(crate) size: [usize; 2],
    pub(crate) x: DeviceBuffer<i32>,
    pub(crate) y: DeviceBuffer<i32>,
    pub(crate) grad: DeviceBuffer<i32>,
    pub(crate) dx: DeviceBuffer<i32>,
    /// Pieces of x and y, and of the gradients.
    pub(crate) pieces: [usize; 2],
    /// Whether `grad` is cut as `y` is.
    pub(crate) grad_as_y: bool,
    /// The offsets of taps in a transform.
    pub(crate) offsets: DeviceBuffer<i32>,
}

impl TilingTable {
    /// A tiling of feature maps of `size` and results of `out`, by taps at `offsets`.
    ///
    /// # Errors
    /// If the sizes do not describe a tiling, or the GPU fails.
    pub(crate) fn new(
        gpu: &Gpu,
        operation: &'static str,
        tiling: &Tiling,
        [size, out]: [[usize; 2]; 2],
        offsets: &[[i32; 2]],
    ) -> Result<TilingTable, Error> {
        let wrong = |what: &str| Error::Operands { operation, what: what.to_owned() };
        let mut divided = Vec::with_capacity(2 * offsets.len());
        for offset in offsets {
            for axis in [0, 1] {
                let (offset, dilation) = (i64::from(offset[axis]), tiling.dilation[axis].max(1) as i64);
                let place = offset / dilation;
                if offset % dilation != 0 || place.unsigned_abs() >= tiling.size[axis] as u64 {
                    return Err(wrong("an offset is at no place of the transform"));
                }
                divided.push(i32::try_from(place).map_err(|_| wrong("an offset is too far"))?);
            }
        }
        for axis in [0, 1] {
            if !is_smooth(tiling.size[axis]) {
                return Err(wrong("a transform has other factors than 2, 3 and 5"));
            }
            for (segments, map) in
                [(&tiling.x, size), (&tiling.y, out), (&tiling.grad, out), (&tiling.dx, size)]
            {
                if !segments[axis].are_inside(map[axis], tiling.size[axis]) {
                    return Err(wrong("a piece is not inside its map or its transform"));
                }
            }
            if !tiling.y[axis].are_all(out[axis]) || !tiling.dx[axis].are_all(size[axis]) {
                return Err(wrong("pieces of results are not each number once"));
            }
        }
        let pairs = |[rows, columns]: &[Segments; 2]| [rows.segments.len(), columns.segments.len()];
        if pairs(&tiling.x) != pairs(&tiling.y) || pairs(&tiling.grad) != pairs(&tiling.dx) {
            return Err(wrong("there are not as many pieces of inputs as of results"));
        }
        let upload = |segments: &[Segments; 2]| -> Result<DeviceBuffer<i32>, Error> {
            let numbers = table(segments).into_iter().map(i32::try_from).collect::<Result<Vec<_>, _>>();
            gpu.upload(&numbers.map_err(|_| wrong("a map is larger than a kernel can count"))?)
        };
        Ok(TilingTable {
            size: tiling.size,
            x: upload(&tiling.x)?,
            y: upload(&tiling.y)?,
            grad: upload(&tiling.grad)?,
            dx: upload(&tiling.dx)?,
            pieces: [&tiling.x, &tiling.dx].map(|segments| pairs(segments).iter().product()),
            grad_as_y: tiling.grad == tiling.y,
            offsets: gpu.upload(&divided)?,
        })
    }
}

impl Segments {
    /// Whether all numbers exist, in a map of `map` numbers and a transform of `transform`.
    fn are_inside(&self, map: usize, transform: usize) -> bool {
        let last = |first: usize, distance: usize, len: usize| {
            distance.checked_mul(len.saturating_sub(1)).and_then(|n| n.checked_add(first))
        };
        let inside = |run: &Segment| {
            run.len == 0
                || last(run.start, self.step, run.len).is_some_and(|n| n < map)
                    && last(run.at, self.stride, run.len).is_some_and(|n| n < transform)
        };
        self.step > 0 && self.stride > 0 && self.segments.iter().all(inside)
    }

    /// Whether each number of a map is in one run, given that all are inside.
    fn are_all(&self, map: usize) -> bool {
        let mut times = vec![0_u8; map];
        for run in &self.segments {
            for time in times.iter_mut().skip(run.start).step_by(self.step).take(run.len) {
                *time = time.saturating_add(1);
            }
        }
        times.iter().all(|&time| time == 1)
    }
}

/// As `piece_of` in `transform.h` reads it.
fn table([rows, columns]: &[Segments; 2]) -> Vec<usize> {
    let mut table = vec![rows.segments.len(), columns.segments.len()];
    for segments in [rows, columns] {
        table.extend([segments.step, segments.stride]);
    }
    for run in rows.segments.iter().chain(&columns.segments) {
        table.extend([run.start, run.len, run.at]);
    }
    table
}

fn is_smooth(mut n: usize) -> bool {
    for factor in [2, 3, 5] {
        while n > 0 && n.is_multiple_of(factor) {
            n /= factor;
        }
    }
    n == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cut_is_refused() {
        let segments = |segments: &[(usize, usize, usize)]| Segments {
            step: 1,
            stride: 1,
            segments: segments.iter().map(|&(start, len, at)| Segment { start, len, at }).collect(),
        };
        let good = || {
            let [rows, columns] = [segments(&[(0, 1, 0)]), segments(&[(0, 4, 0), (4, 3, 0)])];
            let all = || [rows.clone(), columns.clone()];
            Tiling { size: [1, 6], dilation: [1, 1], x: all(), y: all(), grad: all(), dx: all() }
        };
        let gpu = Gpu::emulated();
        let of = |change: fn(&mut Tiling), offset: i32| {
            let mut tiling = good();
            change(&mut tiling);
            TilingTable::new(&gpu, "test", &tiling, [[1, 7]; 2], &[[0, offset]]).map_err(|e| e.to_string())
        };
        assert_eq!(of(|_| (), 2).unwrap().pieces, [2, 2]);
        let refused = |change: fn(&mut Tiling), offset, what: &str| {
            let error = of(change, offset).unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        refused(|_| (), 6, "offset");
        refused(|tiling| tiling.dilation = [1, 2], 3, "offset");
        refused(|tiling| tiling.size[1] = 7, 1, "factors");
        refused(|tiling| tiling.x[1].segments[1].at = 4, 1, "inside its map or its transform");
        refused(|tiling| tiling.grad[1].segments[1].start = 5, 1, "inside its map or its transform");
        refused(|tiling| tiling.y[1].segments[1].len = 2, 1, "each number once");
        refused(|tiling| tiling.dx[1].segments[1].start = 3, 1, "each number once");
        refused(|tiling| tiling.x[1].segments.truncate(1), 1, "as many pieces");
    }
}
