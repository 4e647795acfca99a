//! Estimates the cost of transforms as matrix products, in the rates of a CPU.

use super::DftSize;
use crate::{ConvProblem, algorithm::Cost, machine::CpuModel};

/// The only recipe: transforms of exactly the size that the problem needs. It exists for every problem.
pub(crate) fn candidate(p: &ConvProblem, machine: &CpuModel) -> (DftSize, Cost) {
    let size = DftSize::of(p);
    let DftSize { rows, columns } = size;
    let half = (columns / 2 + 1) as f64;
    let bins = rows as f64 * half;
    let planes = (p.batch * (p.c_in + p.c_out)) as f64;
    let kernels = (p.c_out * p.group_in()) as f64;
    let row_products = if rows == 1 { 0.0 } else { 4.0 * half * (p.size[0] * rows) as f64 };
    let transforms = planes * (2.0 * (p.size[0] * p.size[1]) as f64 * half + row_products);
    let multiply_adds =
        transforms + 2.0 * kernels * p.taps as f64 * bins + 4.0 * p.batch as f64 * kernels * bins;
    let flops = 3.0 * 2.0 * multiply_adds;
    let cost = Cost {
        flops,
        bytes: 8.0 * bins * (2.0 * planes + 2.0 * kernels + p.taps as f64),
        seconds: flops / machine.product_rate(p.batch.min(p.group_in())),
    };
    (size, cost)
}
