//! Runs tests of kernels on the emulator, and on a GPU if there is one.

#[cfg(feature = "cuda")]
use crate::gpu::open;
use crate::{
    emulator::Emulator,
    gpu::{DeviceBuffer, Gpu},
};

/// The first GPU, for the test of this name. If there is none, a line on standard error says once that the test is skipped on
/// a GPU; a program that was built without the feature `cuda` prints nothing.
///
/// # Panics
/// If there is a GPU that cannot be opened: the test would seem to have passed on it.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "nothing is printed"))]
pub fn gpu_for_test(test: &str) -> Option<Gpu> {
    #[cfg(feature = "cuda")]
    {
        use std::{
            collections::HashSet,
            io::Write,
            sync::{Mutex, OnceLock},
        };
        static GPU: OnceLock<Option<candle_core::Device>> = OnceLock::new();
        static TOLD: Mutex<Option<HashSet<String>>> = Mutex::new(None);
        let opened = GPU.get_or_init(|| match open(0) {
            Ok(device) => Some(device),
            Err(error) if error.to_string().contains("NO_DEVICE") => None,
            Err(error) => panic!("the GPU cannot be opened: {error}"),
        });
        if let Some(device) = opened {
            return Gpu::of(device);
        }
        let mut told = TOLD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.get_or_insert_default().insert(test.to_owned()) {
            // Not by a macro: what passing tests print is not shown.
            let _ = writeln!(std::io::stderr(), "skipped on a GPU: {test}");
        }
    }
    None
}

/// What `compute` returns on the emulator, for tests of kernels: the same bits in ascending and in descending order of
/// threads, and, to rounding, on the first GPU if there is one, whose runs agree to the bit.
///
/// # Panics
/// If results differ, or the emulator or the GPU fails.
pub fn run_on_gpus(compute: impl Fn(&Gpu) -> Vec<DeviceBuffer<f32>>) -> Vec<Vec<f32>> {
    let run = |gpu: &Gpu| -> Vec<Vec<f32>> {
        let download = |memory: &DeviceBuffer<f32>| match gpu.download(memory) {
            Ok(values) => values,
            Err(error) => panic!("{error}"),
        };
        compute(gpu).iter().map(download).collect()
    };
    let bits = |all: &[Vec<f32>]| all.concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let [one, other] = [false, true].map(|descending| run(&Gpu::Emulator(Emulator { descending })));
    assert!(bits(&one) == bits(&other), "a barrier is missing");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    if let Some(gpu) = gpu_for_test(&test) {
        let there = run(&gpu);
        assert!(bits(&there) == bits(&run(&gpu)), "runs on the GPU differ");
        for (there, here) in there.iter().zip(&one) {
            let size = here.iter().fold(1f32, |m, v| m.max(v.abs()));
            for (there, here) in there.iter().zip(here) {
                let close = (there - here).abs() < 2e-5 * size || there.is_nan() && here.is_nan();
                assert!(close, "{there} on the GPU, {here} on the emulator");
            }
        }
    }
    one
}
