//! How much memory training and evaluation will need, found without doing either.

use crate::{Error, StageContext, TrainingStage, gather::side};
use candle_core::Device;
use dash_core::pipeline::{OnDivergence, Protocol};
use dash_cuda::Gpu;
use dash_nn::{ConvBuilder, Network, ParamBuilder, Params, Survey};

/// Bytes of a number.
const NUMBER: u64 = 4;
/// Bytes of the program itself.
const PROGRAM: u64 = 32 << 20;
/// Copies of the parameters in a training step: values, momenta, gradients.
const IN_A_STEP: u64 = 3;
/// Copies while a checkpoint is written: values, momenta, both as they were at that step, and as bytes.
const IN_A_CHECKPOINT: u64 = 6;
/// Copies of inputs: as gathered, and as a tensor of the device.
const INPUTS: u64 = 2;
/// What the allocator takes for 20 bytes of activations, the gaps between them included; measured.
const WITH_GAPS: u64 = 23;

/// What a stage that trains will compute, and need.
#[derive(Clone, Debug)]
pub struct MemoryEstimate {
    /// Bytes of memory at the height, about.
    pub bytes: u64,
    /// A training step.
    pub step: Survey,
}

/// About how many bytes training steps of `batch` samples of shape `sample` need at their height:
/// activations that wait for their gradients, the results and the work space of the hungriest operation, and
/// the parameters with what belongs to them. On the CPU within a quarter, as was measured.
///
/// # Errors
/// If the network is not for samples of this shape.
pub fn training_bytes(
    network: &dyn Network,
    params: &Params,
    batch: usize,
    sample: &[usize],
    device: &Device,
) -> Result<u64, dash_nn::Error> {
    let survey = surveyed(network, batch, sample, device)?;
    Ok(total(params, IN_A_STEP, input(batch, sample), survey.training()))
}

/// Bytes of a GPU's memory that nobody uses; `None` if `device` is no GPU, or does not tell.
pub fn free_memory(device: &Device) -> Option<u64> {
    Gpu::of(device)?.free_memory()
}

/// Model name of a GPU; `None` if `device` is none, or does not tell.
pub fn device_name(device: &Device) -> Option<String> {
    Gpu::of(device)?.name()
}

/// A survey of a network as `device` computes it.
fn surveyed(
    network: &dyn Network,
    batch: usize,
    sample: &[usize],
    device: &Device,
) -> Result<Survey, dash_nn::Error> {
    let survey = network.survey(&[&[batch], sample].concat())?;
    Ok(match Gpu::of(device) {
        Some(gpu) => survey.on_gpu(gpu.shared_limit()),
        None => survey,
    })
}

fn total(params: &Params, copies: u64, input: u64, activations: u64) -> u64 {
    let parameters = copies * NUMBER * params.count() as u64;
    PROGRAM + parameters + INPUTS * input + activations / 20 * WITH_GAPS
}

fn input(batch: usize, sample: &[usize]) -> u64 {
    sample.iter().fold(NUMBER * batch as u64, |bytes, &n| bytes.saturating_mul(n as u64))
}

impl StageContext<'_> {
    /// What `stage` will need with `batch_size` samples per step, if its convolutions are made by `convs`.
    /// Neither weights nor data are looked at.
    ///
    /// # Errors
    /// If the backbone does not fit the data.
    pub fn outlook(
        &self,
        stage: TrainingStage,
        batch_size: usize,
        convs: &mut dyn ConvBuilder,
    ) -> Result<MemoryEstimate, Error> {
        let backbone = match stage {
            TrainingStage::Search => self.search_backbone()?,
            TrainingStage::Tune | TrainingStage::Retrain => self.retrain_backbone()?,
        };
        let (network, params) = self.build(&backbone, 0.0, convs, ParamBuilder::blank())?;
        let (pipeline, card) = (self.pipeline, self.data.card());
        let (sample, evaluated) = match (&card.pairs, card.input.shape.as_slice()) {
            (Some(_), &[channels, longest, ..]) => {
                let window = pipeline.task.window.unwrap_or_default();
                let largest = side(&window, longest);
                let evaluated = (window.evaluation_batch_size, vec![channels, largest, largest]);
                (vec![channels, window.training, window.training], evaluated)
            }
            (_, shape) => (shape.to_vec(), (batch_size, shape.to_vec())),
        };
        // The best weights so far, and what can be gone back to.
        let (best, on_divergence) = match stage {
            TrainingStage::Search => (0, pipeline.search.on_divergence),
            TrainingStage::Tune => (0, OnDivergence::Stop),
            TrainingStage::Retrain => {
                (u64::from(pipeline.protocol == Protocol::Strict), pipeline.retrain.on_divergence)
            }
        };
        let besides = best + if on_divergence == OnDivergence::RollBack { 2 } else { 0 };
        let surveyed =
            |batch: usize, sample: &[usize]| surveyed(network.as_ref(), batch, sample, self.device);
        let step = surveyed(batch_size, &sample)?;
        let mut bytes = total(&params, IN_A_CHECKPOINT + besides, 0, 0).max(total(
            &params,
            IN_A_STEP + besides,
            input(batch_size, &sample),
            step.training(),
        ));
        if stage != TrainingStage::Search {
            let (batch, sample) = evaluated;
            let survey = surveyed(batch, &sample)?;
            bytes =
                bytes.max(total(&params, IN_A_STEP + besides, input(batch, &sample), survey.evaluation()));
        }
        Ok(MemoryEstimate { bytes, step })
    }
}
