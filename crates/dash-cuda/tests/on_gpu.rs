//! Asynchronous copies to a GPU and read-backs from it, if there is one.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use candle_core::Tensor;
use dash_cuda::{AsyncScalar, add, gpu_for_test};

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 31 + seed * 977) % 4099) as f32).collect()
}

#[test]
fn uploads_copy_the_values_at_the_time_of_the_call() {
    let Some(gpu) = gpu_for_test("uploads_copy_the_values_at_the_time_of_the_call") else { return };
    let lens = [1, 5, 1000, 1024, 1025, 70_000, 300_000];
    // The same memory of the CPU, with other numbers each time; and memory of the GPU given back at once.
    let mut host = vec![0f32; 300_000];
    let mut sums = Vec::new();
    for round in 0..40 {
        let len = lens[round % lens.len()];
        host[..len].copy_from_slice(&numbers(len, round));
        let [one, two] = [&host[..len], &numbers(len, round + 1)].map(|values| gpu.upload(values).unwrap());
        sums.push(add(&gpu, gpu.read(&one), gpu.read(&two)).unwrap());
        host.fill(f32::NAN);
    }
    for (round, sum) in sums.iter().enumerate() {
        let len = lens[round % lens.len()];
        let expected: Vec<f32> =
            numbers(len, round).iter().zip(numbers(len, round + 1)).map(|(a, b)| a + b).collect();
        assert!(gpu.download(sum).unwrap() == expected, "round {round}");
    }
}

#[test]
fn read_backs_return_the_last_recorded_value() {
    let Some(gpu) = gpu_for_test("read_backs_return_the_last_recorded_value") else { return };
    let tensor = |values: Vec<f32>| gpu.tensor(gpu.upload(&values).unwrap(), values.len()).unwrap();
    let mut read_back = AsyncScalar::new(gpu.clone());
    for step in 0..30 {
        let input = tensor(vec![step as f32, 0.5]);
        let number = {
            let operand = gpu.operand(&input).unwrap();
            gpu.tensor(add(&gpu, operand.read(), operand.read()).unwrap(), 2).unwrap()
        };
        read_back.record(&number.narrow(0, 0, 1).unwrap()).unwrap();
        // What is launched after the read-back does not change its value.
        let later: Vec<Tensor> = (0..20).map(|i| tensor(numbers(1000, i))).collect();
        drop((number, input));
        assert_eq!(read_back.wait().unwrap(), 2.0 * step as f32);
        drop(later);
    }
}
