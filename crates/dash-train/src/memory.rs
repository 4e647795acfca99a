//! Estimates of the memory that training and evaluation need, from shapes alone.

use crate::{context::StageContext, error::Error, gather::side, stage::TrainingStage};
use dash_core::pipeline::{OnDivergence, Protocol};
use dash_nn::{ConvBuilder, DEFAULT_OPTIMIZER, Network, ParamBuilder, Params, ShapeTrace};

/// Bytes of an f32 value.
const VALUE: u64 = 4;
/// Bytes of the program itself.
const PROGRAM: u64 = 32 << 20;
/// Copies of the parameters in a training step: values, the optimizer's buffers, gradients.
const IN_A_STEP: u64 = 2 + DEFAULT_OPTIMIZER.buffers;
/// Copies of the parameters while a checkpoint is written: values and the optimizer's buffers, copies of both, and both
/// as bytes.
const IN_A_CHECKPOINT: u64 = 3 * (1 + DEFAULT_OPTIMIZER.buffers);
/// Copies of inputs: the gathered values, and the tensor on the device.
const INPUTS: u64 = 2;
/// Bytes that the allocator takes for 20 bytes of activations, with the gaps between them; measured.
const WITH_GAPS: u64 = 23;

/// What a stage that trains computes, and the memory that it needs.
#[derive(Clone, Debug)]
pub struct MemoryEstimate {
    /// Estimated peak memory in bytes.
    pub bytes: u64,
    /// A training step.
    pub step: ShapeTrace,
}

/// The estimated peak memory in bytes of training steps of `batch` samples of shape `sample`: saved activations, the
/// results and the workspace of the largest operation, parameters, gradients and the optimizer's buffers. On the CPU it
/// was within a quarter of what was measured.
///
/// # Errors
/// If the network is not for samples of this shape.
pub fn training_bytes(
    network: &dyn Network,
    params: &Params,
    batch: usize,
    sample: &[usize],
) -> Result<u64, dash_nn::Error> {
    let trace = network.trace(&[&[batch], sample].concat())?;
    Ok(total(params, IN_A_STEP, input(batch, sample), trace.training_peak()))
}

fn total(params: &Params, copies: u64, input: u64, activations: u64) -> u64 {
    let parameters = copies * VALUE * params.count() as u64;
    PROGRAM + parameters + INPUTS * input + activations / 20 * WITH_GAPS
}

fn input(batch: usize, sample: &[usize]) -> u64 {
    sample.iter().fold(VALUE * batch as u64, |bytes, &n| bytes.saturating_mul(n as u64))
}

/// What `stage` computes and needs with `batch_size` samples per step, if `convs` builds its convolutions. Neither
/// weights nor data are read.
///
/// # Errors
/// If the backbone does not fit the data.
pub fn estimate_memory(
    ctx: &StageContext<'_>,
    stage: TrainingStage,
    batch_size: usize,
    convs: &mut dyn ConvBuilder,
) -> Result<MemoryEstimate, Error> {
    let backbone = match stage {
        TrainingStage::Search => ctx.search_backbone()?,
        TrainingStage::Tune | TrainingStage::Retrain => ctx.retrain_backbone()?,
    };
    let (network, params) = ctx.build(&backbone, 0.0, convs, ParamBuilder::without_values(ctx.backend))?;
    let (pipeline, card) = (ctx.pipeline, ctx.data.card());
    let (sample, evaluated) = match (&card.pairs, card.input.shape.as_slice()) {
        (Some(_), &[channels, longest, ..]) => {
            let window = pipeline.task.window.unwrap_or_default();
            let largest = side(&window, longest);
            let evaluated = (window.evaluation_batch_size, vec![channels, largest, largest]);
            (vec![channels, window.training, window.training], evaluated)
        }
        (_, shape) => (shape.to_vec(), (batch_size, shape.to_vec())),
    };
    // The best weights so far, and the state to roll back to.
    let (best, on_divergence) = match stage {
        TrainingStage::Search => (0, pipeline.search.on_divergence),
        TrainingStage::Tune => (0, OnDivergence::Stop),
        TrainingStage::Retrain => {
            (u64::from(pipeline.protocol == Protocol::Strict), pipeline.retrain.on_divergence)
        }
    };
    let besides =
        best + if on_divergence == OnDivergence::RollBack { 1 + DEFAULT_OPTIMIZER.buffers } else { 0 };
    let trace = |batch: usize, sample: &[usize]| network.trace(&[&[batch], sample].concat());
    let step = trace(batch_size, &sample)?;
    let mut bytes = total(&params, IN_A_CHECKPOINT + besides, 0, 0).max(total(
        &params,
        IN_A_STEP + besides,
        input(batch_size, &sample),
        step.training_peak(),
    ));
    if stage != TrainingStage::Search {
        let (batch, sample) = evaluated;
        let peak = trace(batch, &sample)?.evaluation_peak();
        bytes = bytes.max(total(&params, IN_A_STEP + besides, input(batch, &sample), peak));
    }
    Ok(MemoryEstimate { bytes, step })
}
