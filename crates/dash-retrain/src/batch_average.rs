//! Computes the mean of a metric over batches, as published results report it.

use dash_data::SplitData;
use dash_nn::{BatchMean, Network};
use dash_train::{Error, StageContext, predict};

/// The mean of the task's metric over batches of `size` samples in their order; `None` if no batch has a value.
///
/// # Errors
/// If the data cannot be read or does not fit the network.
pub(crate) fn batch_average(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    size: usize,
) -> Result<Option<f64>, Error> {
    let empty = ctx.objective()?.accumulator(ctx.data.card().target.outputs());
    let mut mean = BatchMean::new(empty, size);
    let batch_size = ctx.pipeline.retrain.batch_size;
    predict(ctx, network, data, batch_size, |output, targets| Ok(mean.add(output, targets)?))?;
    Ok(mean.value())
}
