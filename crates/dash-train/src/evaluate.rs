//! Evaluation over a whole split.

use crate::{
    Error, StageContext,
    gather::{Gather, to_device},
};
use candle_core::Tensor;
use dash_data::SplitData;
use dash_nn::{BatchMean, Network, Pass, Targets};

/// The metric of `network` over all rows of `data`, accumulated over samples: neither their order
/// nor `batch_size` changes it, but for the last digits of the network's outputs, which convolutions of
/// another size may round in another way.
///
/// # Errors
/// If the data cannot be read or does not fit the network.
pub fn evaluate(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
) -> Result<f64, Error> {
    let mut metric = ctx.objective()?.accumulator(ctx.data.card().target.outputs());
    predict(ctx, network, data, batch_size, |output, targets| Ok(metric.add(output, targets)?))?;
    Ok(metric.value())
}

/// The same during training, where a stop need not wait for the end of it.
///
/// # Errors
/// The same, and [`Error::Stopped`]; it is the caller's to take a checkpoint then.
pub fn watch(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
) -> Result<f64, Error> {
    let mut metric = ctx.objective()?.accumulator(ctx.data.card().target.outputs());
    predict(ctx, network, data, batch_size, |output, targets| match ctx.stopping() {
        true => Err(Error::Stopped),
        false => Ok(metric.add(output, targets)?),
    })?;
    Ok(metric.value())
}

/// The mean of the metric over batches of `size` rows in their order, `batch_size` at a time through
/// the network; `None` if no batch has a value.
pub(crate) fn batch_average(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    (batch_size, size): (usize, usize),
) -> Result<Option<f64>, Error> {
    let empty = ctx.objective()?.accumulator(ctx.data.card().target.outputs());
    let mut mean = BatchMean::new(empty, size);
    predict(ctx, network, data, batch_size, |output, targets| Ok(mean.add(output, targets)?))?;
    Ok(mean.value())
}

/// Hands the outputs of `network` for all rows of `data` to `take`, with their targets.
fn predict(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
    mut take: impl FnMut(&Tensor, &Targets) -> Result<(), Error>,
) -> Result<(), Error> {
    let gather = Gather::new(ctx);
    for rows in gather.batches(data, batch_size) {
        let (input, targets) = to_device(gather.evaluation(data, &rows)?, ctx.device)?;
        take(&network.forward(&input, &Pass::evaluation())?, &targets)?;
    }
    Ok(())
}
