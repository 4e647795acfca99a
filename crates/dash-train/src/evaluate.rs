//! Evaluation over a whole split.

use crate::{Error, StageContext, trainer::load};
use dash_data::SplitData;
use dash_nn::{Network, Pass};

/// The metric of `network` over all rows of `data`, accumulated over samples: neither their order
/// nor `batch_size` changes it.
///
/// # Errors
/// If the data cannot be read or does not fit the network.
pub fn evaluate(
    ctx: &StageContext<'_>,
    network: &dyn Network,
    data: &SplitData,
    batch_size: usize,
) -> Result<f64, Error> {
    let card = ctx.data.card();
    let mut metric = ctx.objective().accumulator(card.target.outputs());
    let rows: Vec<usize> = (0..data.len()).collect();
    for rows in rows.chunks(batch_size.max(1)) {
        let (input, targets) = load(data, rows, &card.input.shape, ctx.device)?;
        metric.add(&network.forward(&input, &Pass::evaluation())?, &targets)?;
    }
    Ok(metric.value())
}
