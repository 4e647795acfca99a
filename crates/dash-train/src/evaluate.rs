//! Evaluation over a whole split.

use crate::{
    Error, StageContext,
    gather::{Gather, to_device},
    prefetch::prefetch,
};
use candle_core::Tensor;
use dash_cuda::Gpu;
use dash_data::SplitData;
use dash_nn::{BatchMean, ForwardContext, Network, Targets};

/// The metric of `network` over all samples of `data`, accumulated over samples: neither their order
/// nor `batch_size`, which counts rows, changes it, but for the last digits of the network's outputs, which
/// convolutions of another size may round in another way. The output for a sample with several parts is the
/// mean of those for its parts.
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
pub fn evaluate_interruptible(
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

/// The mean of the metric over batches of `size` samples in their order, `batch_size` rows at a time
/// through the network; `None` if no batch has a value.
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

impl StageContext<'_> {
    /// Whether loss and metric have a value on the data: better told before training than after.
    ///
    /// # Errors
    /// [`Error::Data`] if they have none, whatever the network puts out.
    pub fn check_task(&self) -> Result<(), Error> {
        Ok(self.data.check_task(&self.pipeline.task)?)
    }
}

/// Hands the outputs of `network` for all samples of `data` to `take`, with their targets.
fn predict(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
    mut take: impl FnMut(&Tensor, &Targets) -> Result<(), Error>,
) -> Result<(), Error> {
    let gather = Gather::new(ctx);
    let mut means = Means::default();
    let prepare = |rows: Vec<usize>| {
        let batch = gather.evaluation(data, &rows)?;
        Ok((rows, batch))
    };
    let batches = gather.batches(data, batch_size).into_iter();
    prefetch(Gpu::of(ctx.device).is_some(), batches, prepare, |batches| {
        for batch in batches {
            let (rows, batch) = batch?;
            let (input, targets) = to_device(batch, ctx.device)?;
            let output = network.forward(&input, &ForwardContext::evaluation())?;
            if !data.is_grouped() {
                take(&output, &targets)?;
                continue;
            }
            let (values, places) =
                means.add(&rows, &output.flatten_all()?.to_vec1::<f32>()?, |sample| data.parts(sample).end);
            if !places.is_empty() {
                let shape = [&[places.len()], output.dims().get(1..).unwrap_or_default()].concat();
                let output = Tensor::from_vec(values, shape, output.device())?;
                take(&output, &targets.select(&places, rows.len()))?;
            }
        }
        Ok(())
    })
}

/// Means over the parts of samples, which may come in different batches.
#[derive(Default)]
struct Means {
    /// The sample whose parts are being added.
    sample: usize,
    sums: Vec<f64>,
    parts: usize,
}

impl Means {
    /// Adds the values of consecutive rows; `end` is the row after the last part of a sample. Returns the
    /// means of the samples that are complete with them, and the places in `rows` of their last parts.
    fn add(
        &mut self,
        rows: &[usize],
        values: &[f32],
        end: impl Fn(usize) -> usize,
    ) -> (Vec<f32>, Vec<usize>) {
        let (mut means, mut places) = (Vec::new(), Vec::new());
        let width = values.len() / rows.len().max(1);
        for (place, (&row, values)) in rows.iter().zip(values.chunks_exact(width.max(1))).enumerate() {
            self.sums.resize(width, 0.0);
            for (sum, &value) in self.sums.iter_mut().zip(values) {
                *sum += f64::from(value);
            }
            self.parts += 1;
            if row + 1 >= end(self.sample) {
                means.extend(self.sums.iter().map(|sum| (sum / self.parts as f64) as f32));
                places.push(place);
                *self = Means { sample: self.sample + 1, ..Means::default() };
            }
        }
        (means, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_parts_do_not_depend_on_where_batches_are_cut() {
        // Samples of 1, 3, 2 and 1 parts.
        let ends = [1, 4, 6, 7];
        let values: Vec<f32> = [[1.0, 0.0], [2.0, 1.0], [4.0, 1.0], [6.0, 4.0], [1.0, 0.5], [2.0, 0.5]]
            .concat()
            .into_iter()
            .chain([9.0, -9.0])
            .collect();
        for size in 1..=7 {
            let (mut means, mut all, mut last) = (Means::default(), vec![], vec![]);
            let rows: Vec<usize> = (0..7).collect();
            for (rows, values) in rows.chunks(size).zip(values.chunks(2 * size)) {
                let (found, places) = means.add(rows, values, |sample| ends[sample]);
                all.extend(found);
                last.extend(places.into_iter().map(|place| rows[place]));
            }
            assert_eq!(all, [1.0, 0.0, 4.0, 2.0, 1.5, 0.5, 9.0, -9.0], "{size} at a time");
            assert_eq!(last, [0, 3, 5, 6]);
        }
    }
}
