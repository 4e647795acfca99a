//! Batches from the rows of a split: the samples as they are or, if they vary in size, windows of them.

use crate::{context::StageContext, error::Error, stage::DrawKey};
use candle_core::Tensor;
use dash_core::{pipeline::Window, random::Purpose};
use dash_data::{Batch, PairWindow, SplitData};
use dash_nn::{Backend, Targets};
use rand::Rng;

/// How the samples of a dataset are gathered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gather {
    /// `None` if all samples have the same size.
    window: Option<Window>,
}

impl Gather {
    pub(crate) fn new(ctx: &StageContext<'_>) -> Gather {
        let pairs = ctx.data.card().pairs.as_ref();
        Gather { window: pairs.map(|_| ctx.pipeline.task.window.unwrap_or_default()) }
    }

    /// The rows of a training batch. Where a sample is cropped depends on `key` and its row alone.
    pub(crate) fn training(self, data: &SplitData, rows: &[usize], key: DrawKey) -> Result<Batch, Error> {
        let Some(window) = self.window else { return Ok(data.gather(rows)?) };
        let crop = |row: usize, most: usize| {
            let mut rng = key.stream(Purpose::Augmentation, row);
            // Drawn as u64: the width of usize must not change the offsets.
            [0, 1].map(|_| rng.random_range(0..=most as u64) as usize)
        };
        let limit = window.target_limit as f32;
        Ok(data.gather_windows(rows, &pair_window(&window, window.training, limit), crop)?)
    }

    /// The rows of each batch in which a split is evaluated: `batch_size` rows in their order, or rows whose windows
    /// have the same size.
    pub(crate) fn batches(self, data: &SplitData, batch_size: usize) -> Vec<Vec<usize>> {
        let rows: Vec<usize> = (0..data.len()).collect();
        let Some(window) = self.window else {
            return rows.chunks(batch_size.max(1)).map(<[usize]>::to_vec).collect();
        };
        let side = |row: usize| side(&window, data.side(row).unwrap_or(0));
        let same = rows.chunk_by(|&one, &other| side(one) == side(other));
        same.flat_map(|rows| rows.chunks(window.evaluation_batch_size.max(1)))
            .map(<[usize]>::to_vec)
            .collect()
    }

    /// The rows of an evaluation batch, as whole samples.
    pub(crate) fn evaluation(self, data: &SplitData, rows: &[usize]) -> Result<Batch, Error> {
        let Some(window) = self.window else { return Ok(data.gather(rows)?) };
        let largest = rows.iter().filter_map(|&row| data.side(row)).max().unwrap_or(0);
        let window = pair_window(&window, side(&window, largest), f32::INFINITY);
        Ok(data.gather_windows(rows, &window, |_, _| [0, 0])?)
    }
}

/// Rows and columns of the evaluation window of a sample of `length` positions.
pub(crate) fn side(window: &Window, length: usize) -> usize {
    window.evaluation.max(length + 2 * window.padding)
}

fn pair_window(window: &Window, side: usize, target_limit: f32) -> PairWindow {
    PairWindow { side, padding: window.padding, target_padding: window.target_padding as f32, target_limit }
}

/// A batch as tensors of a backend. A GPU copies them asynchronously.
pub(crate) fn upload(batch: Batch, backend: &Backend) -> Result<(Tensor, Targets), Error> {
    let shape = [&[batch.rows], &batch.shape[..]].concat();
    Ok((backend.upload(batch.input, shape.into())?, batch.target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::TrainingStage;
    use dash_core::{
        card::Split,
        event::Silent,
        pipeline::{Dataset, Protocol},
    };
    use dash_data::DatasetFolder;
    use dash_store::Staging;

    /// Seven proteins of 26 to 35 residues, written by `tests/fixtures/psicov.py`.
    fn proteins() -> (tempfile::TempDir, DatasetFolder) {
        let place = tempfile::tempdir().unwrap();
        let archive = include_bytes!("../../../tests/fixtures/protein.zip");
        dash_store::publish_file(&place.path().join("raw/protein.zip"), archive).unwrap();
        let config = serde_json::json!({"recipe": "psicov", "raw": place.path().join("raw")});
        let config: Dataset = serde_json::from_value(config).unwrap();
        let mut staging = Staging::begin(&place.path().join("dataset")).unwrap();
        dash_recipes::ingest(&config, Protocol::Paper, &mut staging, &Silent).unwrap();
        staging.publish().unwrap();
        let folder = DatasetFolder::open(&place.path().join("dataset")).unwrap();
        (place, folder)
    }

    #[test]
    fn where_a_sample_is_cropped_depends_on_its_row_and_epoch_alone() {
        let (_place, folder) = proteins();
        let data = folder.split(Split::Train).unwrap();
        let gather = Gather { window: Some(Window { training: 20, ..Window::default() }) };
        let of = |rows: &[usize], seed, stage, epoch| {
            let batch = gather.training(data, rows, DrawKey { seed, stage, epoch }).unwrap();
            assert_eq!(batch.shape, [21, 20, 20]);
            batch.input.chunks(21 * 400).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let together = of(&[0, 3, 6], 1, TrainingStage::Search, 3);
        assert_eq!(of(&[6], 1, TrainingStage::Search, 3)[0], together[2]);
        assert_eq!(of(&[3, 0], 1, TrainingStage::Search, 3), [together[1].clone(), together[0].clone()]);
        for (seed, stage, epoch) in
            [(2, TrainingStage::Search, 3), (1, TrainingStage::Tune, 3), (1, TrainingStage::Search, 4)]
        {
            assert_ne!(of(&[0, 3, 6], seed, stage, epoch), together);
        }
        // Rows and columns are cropped independently of each other.
        let diagonal = |epoch| {
            let mut offsets = [0; 2];
            let window = PairWindow { side: 20, padding: 5, target_padding: 100.0, target_limit: 16.0 };
            let batch = gather
                .training(data, &[0], DrawKey { seed: 1, stage: TrainingStage::Search, epoch })
                .unwrap();
            for (down, right) in (0..=16).flat_map(|down| (0..=16).map(move |right| (down, right))) {
                if data.gather_windows(&[0], &window, |_, _| [down, right]).unwrap() == batch {
                    offsets = [down, right];
                }
            }
            offsets[0] == offsets[1]
        };
        assert!((0..6).filter(|&epoch| diagonal(epoch)).count() < 4);
    }

    #[test]
    fn evaluation_sees_whole_samples_whatever_their_size() {
        let (_place, folder) = proteins();
        let data = folder.split(Split::Train).unwrap();
        // With their padding they have 36, 39, 42, 45, 37, 40 and 43 positions.
        let window = Window { evaluation: 40, evaluation_batch_size: 2, ..Window::default() };
        let gather = Gather { window: Some(window) };
        let batches = gather.batches(data, 99);
        assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4, 5], vec![6]]);
        let sides = batches.iter().map(|rows| gather.evaluation(data, rows).unwrap().shape[1]);
        assert_eq!(sides.collect::<Vec<_>>(), [40, 42, 45, 40, 43]);
        let Targets::Field(distances) = gather.evaluation(data, &[0]).unwrap().target else {
            panic!("a field is expected")
        };
        assert_eq!(distances.len(), 1600);
        assert_eq!((distances[0], distances.iter().copied().fold(0.0, f32::max)), (100.0, 100.0));
        assert!(distances.iter().any(|&distance| distance > 16.0 && distance < 100.0), "nothing is lowered");

        let plain = Gather { window: None };
        assert_eq!(plain.batches(data, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    }
}
