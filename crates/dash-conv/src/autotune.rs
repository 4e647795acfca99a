//! Measures how long plans take.

use crate::{
    ConvProblem, Plan,
    algorithm::CpuConvolution,
    cuda::Convolution,
    engine::{Engine, Place},
};
use candle_core::{Device, Result, Tensor};
use dash_cuda::Gpu;
use std::time::Instant;

/// Timed passes on the CPU, the best of which counts.
const CPU_RUNS: usize = 3;

/// The same on a GPU: the first allocates memory and loads kernels.
const GPU_RUNS: usize = 4;

/// Measures the seconds of one forward and backward pass of `problem` by `plan` on a GPU, or else on the CPU, all gradients
/// included: the best of a few. `None` for plans that are made of candle's tensor operations.
///
/// # Errors
/// If the plan is for another kind of device, or the device fails.
pub fn measure(plan: &Plan, problem: &ConvProblem, gpu: Option<&Gpu>) -> Result<Option<f64>> {
    let device = &gpu.map_or(Device::Cpu, Gpu::device);
    Autotuner::new(problem, Place { gpu, device }).measure(plan, f64::INFINITY)
}

/// Measures several plans of one problem in one place, on the same random values.
pub(crate) struct Autotuner<'a> {
    problem: &'a ConvProblem,
    place: Place<'a>,
    buffers: Option<Buffers>,
}

impl<'a> Autotuner<'a> {
    pub(crate) fn new(problem: &'a ConvProblem, place: Place<'a>) -> Self {
        Autotuner { problem, place, buffers: None }
    }

    /// Seconds of the best of a few passes; `None` if the plan cannot be measured, or as soon as it is clear that it will
    /// not come below `limit`.
    pub(crate) fn measure(&mut self, plan: &Plan, limit: f64) -> Result<Option<f64>> {
        match Engine::build(plan, self.problem, self.place)? {
            Engine::Cpu(convolution) => {
                let buffers = self.buffers.get_or_insert_with(|| Buffers::new(self.problem));
                Ok(buffers.time(convolution.as_ref(), limit))
            }
            Engine::Gpu(gpu, convolution) => {
                time_on_gpu(&gpu, convolution.as_ref(), self.problem, self.place.device).map(Some)
            }
            Engine::Tensors(_) => Ok(None),
        }
    }
}

fn time_on_gpu(
    gpu: &Gpu,
    convolution: &dyn Convolution,
    problem: &ConvProblem,
    device: &Device,
) -> Result<f64> {
    let [x_len, weights_len, _] = problem.lens();
    let operand = |len: usize| Tensor::from_vec(noise(len), len, device);
    let [x, weights, bias] = [operand(x_len)?, operand(weights_len)?, operand(problem.c_out)?];
    let mut best = f64::INFINITY;
    for _ in 0..GPU_RUNS {
        device.synchronize()?;
        let start = Instant::now();
        // The output serves as its own gradient: any values do.
        let y = convolution.forward(gpu, &x, &weights, &bias)?;
        convolution.gradients(gpu, &x, &weights, &y, true)?;
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Operands and results on the CPU.
struct Buffers {
    x: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
}

impl Buffers {
    fn new(problem: &ConvProblem) -> Buffers {
        let [x, weights, y] = problem.lens();
        Buffers {
            x: noise(x),
            weights: noise(weights),
            bias: noise(problem.c_out),
            y: vec![0.0; y],
            dx: vec![0.0; x],
            dw: vec![0.0; weights],
        }
    }

    /// See [`Autotuner::measure`].
    fn time(&mut self, convolution: &dyn CpuConvolution, limit: f64) -> Option<f64> {
        let mut best: Option<f64> = None;
        for _ in 0..CPU_RUNS {
            let start = Instant::now();
            convolution.forward(&self.x, &self.weights, &self.bias, &mut self.y);
            // This is about a third of the work, so that the allowance covers cold caches.
            if best.is_none() && start.elapsed().as_secs_f64() > 1.5 * limit {
                return None;
            }
            // The output serves as its own gradient: any values do.
            convolution.backward(&self.x, &self.weights, &self.y, Some(&mut self.dx), &mut self.dw);
            let seconds = start.elapsed().as_secs_f64();
            best = Some(best.map_or(seconds, |best| best.min(seconds)));
            if seconds > 2.0 * limit {
                break;
            }
        }
        best
    }
}

/// Values between -1 and 1 from a small generator of its own: no random stream of a run is touched.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TapSet, testing::problem};

    #[test]
    fn a_slow_plan_is_stopped_before_its_backward_pass() {
        struct Slow;
        impl CpuConvolution for Slow {
            fn forward(&self, _: &[f32], _: &[f32], _: &[f32], _: &mut [f32]) {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            fn backward(&self, _: &[f32], _: &[f32], _: &[f32], _: Option<&mut [f32]>, _: &mut [f32]) {
                panic!("the backward pass must not run");
            }
        }
        let taps = TapSet::centred(1, 3, 1).unwrap();
        let problem = problem(&taps, [2, 3, 3, 3], [1, 20], [1, 1]);
        assert_eq!(Buffers::new(&problem).time(&Slow, 1e-3), None);
    }
}
