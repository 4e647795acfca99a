//! Prefetching: a thread prepares the next batches while a GPU computes the current one.

use crate::{error::Error, gather::upload};
use candle_core::Tensor;
use dash_data::Batch;
use dash_nn::{Backend, Targets};
use std::{sync::mpsc, thread};

/// Prepared batches that wait in the queue, beside the current one and the one in preparation.
const QUEUE: usize = 1;

/// Hands `consume` what `prepare` makes of `items`, in order. A thread of its own prepares ahead if `aside`: where a GPU
/// computes, the CPU has time for it; else batches are made when they are wanted.
pub(crate) fn prefetch<I, T, R>(
    aside: bool,
    items: impl Iterator<Item = I> + Send,
    prepare: impl Fn(I) -> Result<T, Error> + Send,
    consume: impl FnOnce(&mut dyn Iterator<Item = Result<T, Error>>) -> Result<R, Error>,
) -> Result<R, Error>
where
    T: Send,
{
    if !aside {
        return consume(&mut items.map(prepare));
    }
    thread::scope(|scope| {
        let (give, take) = mpsc::sync_channel(QUEUE);
        let work = move || {
            for item in items {
                // Nobody takes what is left after an error or a stop.
                if give.send(prepare(item)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("batches".to_owned());
        thread.spawn_scoped(scope, work).map_err(candle_core::Error::wrap)?;
        consume(&mut take.into_iter())
    })
}

/// The upload of batches to a backend.
pub(crate) struct Uploads<'a> {
    batches: &'a mut dyn Iterator<Item = Result<Batch, Error>>,
    backend: &'a Backend,
    ahead: Option<Upload>,
}

/// The next batch on the device; `None` after the last.
type Upload = Result<Option<(Tensor, Targets)>, Error>;

impl<'a> Uploads<'a> {
    pub(crate) fn new(
        batches: &'a mut dyn Iterator<Item = Result<Batch, Error>>,
        backend: &'a Backend,
    ) -> Uploads<'a> {
        Uploads { batches, backend, ahead: None }
    }

    /// Uploads the next batch while the backend still computes, if it is asynchronous. An error is returned with that batch.
    pub(crate) fn upload_ahead(&mut self) {
        if self.backend.is_asynchronous() {
            self.ahead = Some(self.upload());
        }
    }

    /// The next batch.
    pub(crate) fn next(&mut self) -> Upload {
        self.ahead.take().unwrap_or_else(|| self.upload())
    }

    fn upload(&mut self) -> Upload {
        let batch = self.batches.next().transpose()?;
        batch.map(|batch| upload(batch, self.backend)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_in_order_until_nobody_takes_them() {
        let taken = |aside, wanted: usize, failing: usize| -> Result<Vec<usize>, Error> {
            let prepare = |n: usize| if n == failing { Err(Error::NoNoise) } else { Ok(10 * n) };
            prefetch(aside, 0..100, prepare, |batches| batches.take(wanted).collect())
        };
        for aside in [false, true] {
            assert_eq!(taken(aside, usize::MAX, 100).unwrap(), (0..100).map(|n| 10 * n).collect::<Vec<_>>());
            assert_eq!(taken(aside, 3, 4).unwrap(), [0, 10, 20]);
            assert!(matches!(taken(aside, usize::MAX, 4), Err(Error::NoNoise)));
        }
    }
}
