//! Which inputs an output of a direct convolution sees, worked out once per problem.

use crate::Problem;
use std::ops::Range;

/// Neighbouring outputs of a row that are summed at the same time.
pub(crate) const BLOCK: usize = 8;

/// The taps of one row offset.
#[derive(Debug)]
pub(super) struct TapRow {
    /// Input row less `in_step` times the output row.
    pub(super) shift: i64,
    /// Its taps.
    pub(super) taps: Range<usize>,
    /// For each block of outputs, those taps that meet data.
    pub(super) blocks: Vec<Range<usize>>,
}

/// Outputs `out_start + out_step t`, for `t` below `count`, of a convolution whose input is read at
/// `in_step t + shift`.
#[derive(Debug)]
pub(super) struct Stencil {
    /// Rows and columns of the input.
    pub(super) size: [usize; 2],
    pub(super) in_step: [usize; 2],
    pub(super) out_start: [usize; 2],
    pub(super) out_step: [usize; 2],
    pub(super) count: [usize; 2],
    pub(super) rows: Vec<TapRow>,
    /// Column shift and place in the weights of each tap, row by row, ascending.
    pub(super) shifts: Vec<i64>,
    pub(super) places: Vec<usize>,
}

/// Row shift, column shift and place in the weights.
type Tap = (i64, i64, usize);

impl Stencil {
    fn new(
        size: [usize; 2],
        in_step: [usize; 2],
        [out_start, out_step, count]: [[usize; 2]; 3],
        mut taps: Vec<Tap>,
    ) -> Stencil {
        taps.sort_unstable();
        let shifts: Vec<i64> = taps.iter().map(|t| t.1).collect();
        let mut rows: Vec<TapRow> = Vec::new();
        for (i, &(shift, ..)) in taps.iter().enumerate() {
            match rows.last_mut() {
                Some(row) if row.shift == shift => row.taps.end = i + 1,
                _ => rows.push(TapRow { shift, taps: i..i + 1, blocks: Vec::new() }),
            }
        }
        for row in &mut rows {
            let shifts = &shifts[row.taps.clone()];
            row.blocks = (0..count[1])
                .step_by(BLOCK)
                .map(|first| {
                    // Some output t of the block sees 0 <= in_step t + shift < size.
                    let last = (first + BLOCK).min(count[1]) - 1;
                    let [low, high] = [first, last].map(|t| (t * in_step[1]) as i64);
                    let from = shifts.partition_point(|shift| high + shift < 0);
                    let to = shifts.partition_point(|shift| low + shift < size[1] as i64);
                    row.taps.start + from..row.taps.start + to.max(from)
                })
                .collect();
        }
        let places = taps.into_iter().map(|t| t.2).collect();
        Stencil { size, in_step, out_start, out_step, count, rows, shifts, places }
    }

    /// From inputs to outputs.
    pub(super) fn forward(problem: &Problem) -> Stencil {
        let taps = problem.offsets.iter().zip(&problem.places);
        let taps = taps.map(|(o, &place)| (i64::from(o[0]), i64::from(o[1]), place)).collect();
        Stencil::new(problem.size, problem.stride, [[0, 0], [1, 1], problem.out_size()], taps)
    }

    /// From gradients of outputs to those of inputs: input u receives from the outputs
    /// (u - offset) / stride that are whole, so that each residue of u sees taps of its own.
    pub(super) fn backward(problem: &Problem) -> Vec<Stencil> {
        let stride = problem.stride;
        let residues = |axis: usize| 0..stride[axis].min(problem.size[axis]);
        let pairs = residues(0).flat_map(|r| residues(1).map(move |c| [r, c]));
        let of = |residue: [usize; 2]| {
            let taps = problem.offsets.iter().zip(&problem.places).filter_map(|(offset, &place)| {
                let [row, column] = [0, 1].map(|axis| {
                    let (from, step) = (residue[axis] as i64 - i64::from(offset[axis]), stride[axis] as i64);
                    (from.rem_euclid(step) == 0).then(|| from.div_euclid(step))
                });
                Some((row?, column?, place))
            });
            let count = [0, 1].map(|axis| (problem.size[axis] - residue[axis]).div_ceil(stride[axis]));
            Stencil::new(problem.out_size(), [1, 1], [residue, stride, count], taps.collect())
        };
        pairs.map(of).collect()
    }

    /// The range of rows of outputs for which a row of taps meets data.
    pub(super) fn live(&self, row: &TapRow) -> Range<usize> {
        let (step, size) = (self.in_step[0] as i64, self.size[0] as i64);
        let first = (-row.shift).max(0);
        let first = first.div_euclid(step) + i64::from(first.rem_euclid(step) != 0);
        let end = ((size - 1 - row.shift).div_euclid(step) + 1).clamp(0, self.count[0] as i64);
        first.min(end) as usize..end as usize
    }

    /// Multiply-adds over one plane, whole blocks counted.
    pub(super) fn multiply_adds(&self) -> f64 {
        let of = |row: &TapRow| self.live(row).len() * row.blocks.iter().map(Range::len).sum::<usize>();
        (BLOCK * self.rows.iter().map(of).sum::<usize>()) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TapSet;

    /// All (output, input, place) that a stencil connects inside the maps.
    fn connections(stencil: &Stencil) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for row in &stencil.rows {
            for r in stencil.live(row) {
                for (block, taps) in row.blocks.iter().enumerate() {
                    for tap in taps.clone() {
                        for t in (block * BLOCK..(block + 1) * BLOCK).take_while(|t| *t < stencil.count[1]) {
                            let y = (stencil.in_step[0] * r) as i64 + row.shift;
                            let x = (stencil.in_step[1] * t) as i64 + stencil.shifts[tap];
                            assert!((0..stencil.size[0] as i64).contains(&y));
                            if (0..stencil.size[1] as i64).contains(&x) {
                                let out = [r, t];
                                let [or, oc] =
                                    [0, 1].map(|a| stencil.out_start[a] + stencil.out_step[a] * out[a]);
                                found.push((
                                    100 * or + oc,
                                    100 * y as usize + x as usize,
                                    stencil.places[tap],
                                ));
                            }
                        }
                    }
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn gradients_take_the_ways_of_values_back() {
        for (kernel, dilation, size, stride) in
            [(3, 1, [9, 21], 1), (5, 3, [8, 11], 2), (7, 2, [5, 30], 3), (3, 15, [4, 4], 1)]
        {
            let taps = TapSet::centred(2, kernel, dilation).unwrap();
            let problem = Problem::new(&taps, 1, 1, 1, 1, size, [stride, stride]).unwrap();
            let forward = connections(&Stencil::forward(&problem));
            assert!(!forward.is_empty());
            let mut expected = Vec::new();
            let [rows, columns] = problem.out_size();
            for r in 0..rows {
                for c in 0..columns {
                    for (offset, &place) in problem.offsets.iter().zip(&problem.places) {
                        let y = (r * stride) as i64 + i64::from(offset[0]);
                        let x = (c * stride) as i64 + i64::from(offset[1]);
                        if (0..size[0] as i64).contains(&y) && (0..size[1] as i64).contains(&x) {
                            expected.push((100 * r + c, 100 * y as usize + x as usize, place));
                        }
                    }
                }
            }
            expected.sort_unstable();
            assert_eq!(forward, expected);
            let mut back: Vec<_> = Stencil::backward(&problem).iter().flat_map(connections).collect();
            back.iter_mut().for_each(|(a, b, _)| std::mem::swap(a, b));
            back.sort_unstable();
            assert_eq!(back, expected);
        }
    }
}
