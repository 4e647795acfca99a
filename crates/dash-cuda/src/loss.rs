//! Computes losses together with their gradients.

use crate::{
    error::{Error, expect},
    gpu::{DeviceBuffer, Gpu},
    kernels::{ClassLoss, FieldLoss, LabelLoss, LossTotal, ScaleBy},
    launch::LaunchDims,
    memory::DeviceSlice,
};

const NAME: &str = "loss";

/// A loss, one element, and its gradient in the outputs.
pub type LossAndGradient = (DeviceBuffer<f32>, DeviceBuffer<f32>);

fn total(
    gpu: &Gpu,
    sums: &DeviceBuffer<f64>,
    divisor: f64,
    count: usize,
) -> Result<DeviceBuffer<f32>, Error> {
    let mut out = gpu.alloc(1)?;
    let total = LossTotal { sums: gpu.read(sums), out: gpu.write(&mut out), divisor, count };
    // SAFETY: the caller reserved `count` sums.
    #[allow(unsafe_code)]
    unsafe {
        total.launch(gpu, LaunchDims::sums([1, 1, 1], 1))?;
    }
    Ok(out)
}

/// The mean over rows of -log p, or with a `gamma` of -(1 - p)^gamma log(p + 1e-9), where p is the softmax of a row of
/// logits, [rows, k], at its class.
///
/// # Errors
/// If a class is not below k, or the GPU fails.
pub fn class_loss(
    gpu: &Gpu,
    logits: DeviceSlice<'_, f32>,
    classes: &[i32],
    k: usize,
    gamma: Option<f64>,
) -> Result<LossAndGradient, Error> {
    let rows = classes.len();
    expect(NAME, "the logits", logits.len(), rows * k)?;
    if rows * k == 0 || classes.iter().any(|&class| usize::try_from(class).map_or(true, |class| class >= k)) {
        let what = format!("{rows} classes do not fit {k} logits each");
        return Err(Error::Operands { operation: NAME, what });
    }
    let classes = gpu.upload(classes)?;
    let (mut losses, mut grad) = (gpu.alloc::<f64>(rows)?, gpu.alloc(logits.len())?);
    let loss = ClassLoss {
        logits,
        classes: gpu.read(&classes),
        losses: gpu.write(&mut losses),
        grad: gpu.write(&mut grad),
        gamma: gamma.unwrap_or(0.0),
        focal: gamma.is_some(),
        rows,
        k,
    };
    // SAFETY: lengths and classes were compared.
    #[allow(unsafe_code)]
    unsafe {
        loss.launch(gpu, LaunchDims::over(rows))?;
    }
    Ok((total(gpu, &losses, rows as f64, rows)?, grad))
}

/// The mean over all elements of -weight ln s(x) where a label is 1 and -ln(1 - s(x)) where it is 0, each at most `most`,
/// with s the sigmoid; where it is 2 or 3 the loss is 0.
///
/// # Errors
/// If there is not a label for each logit, or the GPU fails.
pub fn label_loss(
    gpu: &Gpu,
    logits: DeviceSlice<'_, f32>,
    labels: &[i32],
    weight: f64,
    most: f64,
) -> Result<LossAndGradient, Error> {
    expect(NAME, "the labels", labels.len(), logits.len())?;
    let blocks = labels.len().div_ceil(1 << 12).clamp(1, 1024);
    let labels = gpu.upload(labels)?;
    let (mut sums, mut grad) = (gpu.alloc::<f64>(blocks)?, gpu.alloc(logits.len())?);
    let loss = LabelLoss {
        logits,
        labels: gpu.read(&labels),
        sums: gpu.write(&mut sums),
        grad: gpu.write(&mut grad),
        weight,
        most,
        count: logits.len(),
    };
    // SAFETY: lengths were compared; there is a sum per block.
    #[allow(unsafe_code)]
    unsafe {
        loss.launch(gpu, LaunchDims::sums([blocks as u32, 1, 1], 1))?;
    }
    Ok((total(gpu, &sums, logits.len() as f64, blocks)?, grad))
}

/// Of fields of `length` values per sample, decoded by a mean and a scale per value if there are any: the sum over samples
/// of ||output - target|| / ||target|| if `relative`, else the mean of (output - target)^2 over all values.
///
/// # Errors
/// If the target has another length, or the GPU fails.
pub fn field_loss(
    gpu: &Gpu,
    output: DeviceSlice<'_, f32>,
    target: &[f32],
    scaling: Option<[&[f32]; 2]>,
    length: usize,
    relative: bool,
) -> Result<LossAndGradient, Error> {
    expect(NAME, "the target", target.len(), output.len())?;
    let samples = output.len() / length.max(1);
    expect(NAME, "the output", output.len(), samples * length)?;
    for values in scaling.into_iter().flatten() {
        expect(NAME, "the scaling", values.len(), length)?;
    }
    let target = gpu.upload(target)?;
    let [mean, scale] = scaling.unwrap_or([&[0.0], &[1.0]]);
    let (mean, scale) = (gpu.upload(mean)?, gpu.upload(scale)?);
    let (mut losses, mut grad) = (gpu.alloc::<f64>(samples)?, gpu.alloc(output.len())?);
    let loss = FieldLoss {
        output,
        target: gpu.read(&target),
        mean: gpu.read(&mean),
        scale: gpu.read(&scale),
        losses: gpu.write(&mut losses),
        grad: gpu.write(&mut grad),
        relative,
        scaled: scaling.is_some(),
        samples,
        length,
    };
    let blocks = u32::try_from(samples).unwrap_or(u32::MAX).clamp(1, 1 << 16);
    // SAFETY: lengths were compared.
    #[allow(unsafe_code)]
    unsafe {
        loss.launch(gpu, LaunchDims::sums([blocks, 1, 1], 1))?;
    }
    let divisor = if relative { 1.0 } else { output.len() as f64 };
    Ok((total(gpu, &losses, divisor, samples)?, grad))
}

/// x times a scalar that is on the GPU.
///
/// # Errors
/// If `factor` is not one element, or the GPU fails.
pub fn scale_by(
    gpu: &Gpu,
    x: DeviceSlice<'_, f32>,
    factor: DeviceSlice<'_, f32>,
) -> Result<DeviceBuffer<f32>, Error> {
    expect(NAME, "the factor", factor.len(), 1)?;
    let mut out = gpu.alloc(x.len())?;
    let (count, scale) = (x.len(), ScaleBy { x, factor, out: gpu.write(&mut out), count: x.len() });
    // SAFETY: out is as long as x.
    #[allow(unsafe_code)]
    unsafe {
        scale.launch(gpu, LaunchDims::over(count))?;
    }
    Ok(out)
}
