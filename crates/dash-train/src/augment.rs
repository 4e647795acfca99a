//! Augments the inputs of training batches at random.

mod spectrogram;

use crate::{error::Error, stage::DrawKey};
use dash_core::{
    card::DatasetCard,
    pipeline::Augment,
    random::{ChaCha8Rng, Purpose},
};
use dash_data::{Batch, Noise};
use rand::Rng;
use spectrogram::Plane;

/// Name of the note in a dataset card that holds one padding value per channel.
const PADDING_NOTE: &str = "padding_value";
/// Name of the note with the number of zeros at the end of the last axis, which augmentation leaves as they are.
const ZEROS_NOTE: &str = "zero_columns";

/// Names of the notes that map each row and column to that of the original image, for datasets of permuted images.
/// Augmentation that moves positions is applied in the original order.
const ORDER_NOTES: [&str; 2] = ["row_order", "column_order"];

/// The augmentation of a task, for samples of one shape. What happens to a sample depends on the draw key and its row
/// alone.
#[derive(Clone, Debug)]
pub(crate) struct Augmentation<'a> {
    kinds: Vec<Augment>,
    channels: usize,
    /// Size of the first spatial axis; one if there is only one axis.
    rows: usize,
    /// Size of the last axis.
    columns: usize,
    /// Padding value per channel.
    padding: Vec<f32>,
    /// For each position of a channel in the dataset, the position in the original, if they differ.
    order: Option<Vec<usize>>,
    /// Size of the last axis without the zeros at its end.
    filled: usize,
    noise: Option<&'a Noise>,
}

/// The order of the positions of a channel.
#[derive(Clone, Copy)]
enum Order {
    /// As in the images before they were permuted.
    Original,
    /// As in the dataset.
    Dataset,
}

impl<'a> Augmentation<'a> {
    /// The augmentation `kinds` of samples of the dataset with this card.
    pub(crate) fn new(kinds: &[Augment], card: &DatasetCard) -> Result<Augmentation<'a>, Error> {
        let (channels, rows, columns) = match *card.input.shape.as_slice() {
            [channels, columns] => (channels, 1, columns),
            [channels, rows, columns] => (channels, rows, columns),
            _ => return Err(Error::Shape { shape: card.input.shape.clone() }),
        };
        let padding = match card.notes.get(PADDING_NOTE) {
            None => vec![0.0; channels],
            Some(note) => serde_json::from_value(note.clone()).unwrap_or_default(),
        };
        if padding.len() != channels {
            return Err(Error::Format {
                path: "dataset.json".into(),
                reason: format!(
                    "the note `{PADDING_NOTE}` does not have one number for each of {channels} channels"
                ),
            });
        }
        let zeros = card.notes.get(ZEROS_NOTE).and_then(serde_json::Value::as_u64).unwrap_or_default();
        let filled = usize::try_from(zeros).ok().and_then(|zeros| columns.checked_sub(zeros));
        let filled = filled.filter(|&filled| filled > 0).ok_or_else(|| Error::Format {
            path: "dataset.json".into(),
            reason: format!("the note `{ZEROS_NOTE}` leaves nothing of {columns} positions"),
        })?;
        let order = order(card, rows, columns)?;
        Ok(Augmentation {
            kinds: kinds.to_vec(),
            channels,
            rows,
            columns,
            padding,
            order,
            filled,
            noise: None,
        })
    }

    /// Adds the recordings that augmentation may mix in.
    ///
    /// # Errors
    /// If a recording is shorter than an input.
    pub(crate) fn with_noise(self, noise: Option<&'a Noise>) -> Result<Augmentation<'a>, Error> {
        let frames = |noise: &Noise| (0..noise.recordings()).map(|n| noise.frames(n)).min().unwrap_or(0);
        if let Some(shortest) = noise.map(frames).filter(|&shortest| shortest < self.filled) {
            return Err(Error::Format {
                path: dash_core::card::NoiseInfo::FILE.into(),
                reason: format!("a recording has {shortest} frames, inputs have {}", self.filled),
            });
        }
        Ok(Augmentation { noise, ..self })
    }

    /// Changes the inputs of `batch`, which are those of `rows` of the training split.
    ///
    /// # Errors
    /// If the dataset lacks background levels or noise that the task asks for.
    pub(crate) fn apply(&self, batch: &mut Batch, rows: &[usize], key: DrawKey) -> Result<(), Error> {
        if self.kinds.is_empty() {
            return Ok(());
        }
        let length = self.channels * self.rows * self.columns;
        for (at, (input, &row)) in batch.input.chunks_exact_mut(length.max(1)).zip(rows).enumerate() {
            let mut rng = key.stream(Purpose::Augmentation, row);
            self.reorder(input, Order::Original);
            for kind in &self.kinds {
                self.change(input, batch.background.get(at).copied(), *kind, &mut rng)?;
            }
            self.reorder(input, Order::Dataset);
        }
        Ok(())
    }

    fn change(
        &self,
        input: &mut [f32],
        level: Option<f32>,
        kind: Augment,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), Error> {
        match kind {
            Augment::Crop { padding } => {
                // Drawn as u64: the width of usize must not change the offsets.
                let mut offset = || rng.random_range(0..=2 * padding as u64) as i64 - padding as i64;
                let down = if self.rows > 1 { offset() } else { 0 };
                let right = offset();
                self.shift(input, down, right);
            }
            Augment::Flip => {
                if rng.random_bool(0.5) {
                    input.chunks_exact_mut(self.columns.max(1)).for_each(<[f32]>::reverse);
                }
            }
            Augment::Background { low, high } => {
                // One draw whatever the range: what follows in the stream does not depend on it.
                let factor = low + (high - low) * rng.random::<f64>();
                let added = (factor * f64::from(level.ok_or(Error::NoBackground)?)) as f32;
                input.iter_mut().for_each(|value| *value += added);
            }
            Augment::SpecAugment(mask) => self.plane().mask(input, &mask, rng),
            Augment::Noise { probability, share, mask } => {
                let noise = self.noise.ok_or(Error::NoNoise)?;
                if rng.random::<f64>() < probability {
                    self.plane().mix(input, noise, share, mask.as_ref(), rng)?;
                }
            }
        }
        Ok(())
    }

    /// Permutes every channel into the original order, or back.
    fn reorder(&self, input: &mut [f32], to: Order) {
        let Some(order) = &self.order else { return };
        for plane in input.chunks_exact_mut(order.len().max(1)) {
            let old = plane.to_vec();
            for (here, &original) in order.iter().enumerate() {
                let (from, to) = match to {
                    Order::Original => (here, original),
                    Order::Dataset => (original, here),
                };
                if let (Some(value), Some(place)) = (old.get(from), plane.get_mut(to)) {
                    *place = *value;
                }
            }
        }
    }

    fn plane(&self) -> Plane {
        Plane { rows: self.rows, columns: self.columns, filled: self.filled }
    }

    /// Moves each channel by `-down` rows and `-right` columns, and fills the rest with its padding value.
    fn shift(&self, input: &mut [f32], down: i64, right: i64) {
        let planes = input.chunks_exact_mut((self.rows * self.columns).max(1));
        for (plane, &padding) in planes.zip(&self.padding) {
            let old = plane.to_vec();
            let value = |row: i64, column: i64| {
                let row = usize::try_from(row).ok().filter(|&row| row < self.rows)?;
                let column = usize::try_from(column).ok().filter(|&column| column < self.columns)?;
                old.get(row * self.columns + column).copied()
            };
            for (row, line) in plane.chunks_exact_mut(self.columns.max(1)).enumerate() {
                for (column, place) in line.iter_mut().enumerate() {
                    *place = value(row as i64 + down, column as i64 + right).unwrap_or(padding);
                }
            }
        }
    }
}

/// The original position of each position of a channel, from the notes about rows and columns.
fn order(card: &DatasetCard, rows: usize, columns: usize) -> Result<Option<Vec<usize>>, Error> {
    let axis = |name: &str, length: usize| -> Result<Option<Vec<usize>>, Error> {
        let Some(note) = card.notes.get(name) else { return Ok(None) };
        let order: Vec<usize> = serde_json::from_value(note.clone()).unwrap_or_default();
        let mut seen = vec![false; length];
        for &position in &order {
            if let Some(seen) = seen.get_mut(position) {
                *seen = true;
            }
        }
        if order.len() != length || seen.contains(&false) {
            let reason = format!("the note `{name}` is not a permutation of {length} positions");
            return Err(Error::Format { path: "dataset.json".into(), reason });
        }
        Ok(Some(order))
    };
    let [row_note, column_note] = ORDER_NOTES;
    let (by_row, by_column) = (axis(row_note, rows)?, axis(column_note, columns)?);
    if by_row.is_none() && by_column.is_none() {
        return Ok(None);
    }
    let by_row = by_row.unwrap_or_else(|| (0..rows).collect());
    let by_column = by_column.unwrap_or_else(|| (0..columns).collect());
    let positions =
        by_row.iter().flat_map(|row| by_column.iter().map(move |column| row * columns + column)).collect();
    Ok(Some(positions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::TrainingStage;
    use dash_core::card::{ElementType, Target, TensorField};
    use dash_core::targets::Targets;
    use std::collections::BTreeSet;

    const KEY: DrawKey = DrawKey { seed: 3, stage: TrainingStage::Search, epoch: 1 };

    fn card(shape: &[usize], padding: Option<&[f32]>) -> DatasetCard {
        let notes = padding.map(|values| (PADDING_NOTE.to_owned(), serde_json::json!(values)));
        DatasetCard {
            format: DatasetCard::FORMAT,
            recipe: "test".into(),
            sources: vec![],
            input: TensorField { column: "input".into(), shape: shape.to_vec(), element: ElementType::F32 },
            input_scaling: None,
            target: Target::Class { column: "target".into(), labels: vec!["a".into(), "b".into()] },
            splits: Default::default(),
            background: None,
            pairs: None,
            group: None,
            noise: None,
            target_scaling: None,
            notes: notes.into_iter().collect(),
            licence: String::new(),
        }
    }

    fn batch(input: Vec<f32>, rows: usize) -> Batch {
        let shape = vec![1, input.len() / rows.max(1)];
        Batch { rows, shape, input, target: Targets::Class(vec![0; rows]), background: vec![] }
    }

    #[test]
    fn crops_shift_and_pad_each_channel_with_its_own_value() {
        let augment = Augmentation::new(&[], &card(&[2, 2, 3], Some(&[-1.0, -2.0]))).unwrap();
        let mut input: Vec<f32> = (0..12).map(|v| v as f32).collect();
        augment.shift(&mut input, 1, -1);
        assert_eq!(input, [-1.0, 3.0, 4.0, -1.0, -1.0, -1.0, -2.0, 9.0, 10.0, -2.0, -2.0, -2.0]);
        let augment = Augmentation::new(&[], &card(&[1, 4], None)).unwrap();
        let mut input = vec![1.0, 2.0, 3.0, 4.0];
        augment.shift(&mut input, 0, 3);
        assert_eq!(input, [4.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn augmentation_of_a_sample_depends_on_its_row_and_epoch_alone() {
        let kinds = [Augment::Crop { padding: 2 }, Augment::Flip];
        let augment = Augmentation::new(&kinds, &card(&[1, 3, 3], None)).unwrap();
        let image: Vec<f32> = (1..10).map(|v| v as f32).collect();
        let of = |rows: &[usize], seed, stage, epoch| {
            let mut batch = batch(image.repeat(rows.len()), rows.len());
            augment.apply(&mut batch, rows, DrawKey { seed, stage, epoch }).unwrap();
            batch.input.chunks(9).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let together = of(&[5, 7, 9], 1, TrainingStage::Search, 3);
        assert_eq!(of(&[9], 1, TrainingStage::Search, 3)[0], together[2]);
        assert_eq!(of(&[7, 5], 1, TrainingStage::Search, 3), [together[1].clone(), together[0].clone()]);
        let rows: Vec<usize> = (0..50).collect();
        let first = of(&rows, 1, TrainingStage::Search, 3);
        for other in [
            of(&rows, 2, TrainingStage::Search, 3),
            of(&rows, 1, TrainingStage::Tune, 3),
            of(&rows, 1, TrainingStage::Search, 4),
        ] {
            assert_ne!(first, other);
        }
        // 25 offsets, each with its mirror image, and some of each within 5000 draws.
        let rows: Vec<usize> = (0..5000).collect();
        let seen: BTreeSet<String> =
            of(&rows, 1, TrainingStage::Search, 0).iter().map(|image| format!("{image:?}")).collect();
        assert_eq!(seen.len(), 50);
    }

    /// Augmented permuted images are the permuted form of augmented original images.
    #[test]
    fn permuted_images_are_changed_in_their_original_order() {
        let (row_order, column_order) = ([1, 0, 2], [0, 2, 1, 3]);
        let permute = |image: &[f32]| -> Vec<f32> {
            let plane = |plane: &[f32]| -> Vec<f32> {
                let places = row_order.iter().flat_map(|r| column_order.iter().map(move |c| r * 4 + c));
                places.map(|place: usize| plane[place]).collect()
            };
            image.chunks(12).flat_map(plane).collect()
        };
        let plain = card(&[2, 3, 4], Some(&[-1.0, -2.0]));
        let mut permuted = plain.clone();
        permuted.notes.insert("row_order".into(), serde_json::json!(row_order));
        permuted.notes.insert("column_order".into(), serde_json::json!(column_order));
        let kinds = [Augment::Crop { padding: 1 }, Augment::Flip];
        let image: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let rows: Vec<usize> = (0..50).collect();
        let changed = |card: &DatasetCard, image: Vec<f32>| {
            let mut batch = batch(image.repeat(50), 50);
            let augmentation = Augmentation::new(&kinds, card).unwrap();
            augmentation.apply(&mut batch, &rows, KEY).unwrap();
            batch.input
        };
        let expected: Vec<f32> = changed(&plain, image.clone()).chunks(24).flat_map(permute).collect();
        assert_eq!(changed(&permuted, permute(&image)), expected);
        assert_ne!(expected[..24], expected[24..48]);
        for wrong in [serde_json::json!([0, 1]), serde_json::json!([0, 1, 1]), serde_json::json!("x")] {
            permuted.notes.insert("row_order".into(), wrong);
            assert!(Augmentation::new(&kinds, &permuted).is_err());
        }
    }

    #[test]
    fn the_background_of_each_sample_is_scaled_within_the_range() {
        let sky = Augmentation::new(&[Augment::Background { low: -0.9, high: 3.0 }], &card(&[1, 2], None));
        let sky = sky.unwrap();
        let rows: Vec<usize> = (0..200).collect();
        let mut batch = batch(vec![10.0; 400], 200);
        let error = sky.apply(&mut batch, &rows, KEY).unwrap_err();
        assert_eq!(error.to_string(), "`task.augment`: the samples of the dataset have no background level");
        batch.background = rows.iter().map(|&row| 100.0 + row as f32).collect();
        sky.apply(&mut batch, &rows, KEY).unwrap();
        let factors = batch.input.chunks(2).zip(&batch.background).map(|(input, level)| {
            assert_eq!(input[0], input[1], "one number for all elements of a sample");
            (input[0] - 10.0) / level
        });
        let factors: Vec<f32> = factors.collect();
        assert!(factors.iter().all(|factor| (-0.9001..3.0001).contains(factor)));
        let mean = factors.iter().sum::<f32>() / 200.0;
        assert!((mean - 1.05).abs() < 0.3, "{mean}");
    }

    #[test]
    fn no_kinds_change_nothing_and_wrong_notes_are_refused() {
        let plain = Augmentation::new(&[], &card(&[1, 2, 2], None)).unwrap();
        let mut unchanged = batch(vec![1.0, 2.0, 3.0, 4.0], 1);
        plain.apply(&mut unchanged, &[0], KEY).unwrap();
        assert_eq!(unchanged.input, [1.0, 2.0, 3.0, 4.0]);
        assert!(Augmentation::new(&[], &card(&[3, 2, 2], Some(&[0.0]))).is_err());
        assert!(Augmentation::new(&[], &card(&[3], None)).is_err());
    }
}
