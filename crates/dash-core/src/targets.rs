//! Describes the targets of a batch, as plain numbers.

use crate::card::TargetKind;

/// What a network should predict for the samples of a batch, sample after sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Class indices, one per sample.
    Class(Vec<i64>),
    /// Multi-hot labels: 0 or 1 for each label, (samples, labels).
    Labels(Vec<u8>),
    /// Fields, (samples, shape of one target), encoded if the card has a target scaling.
    Field(Vec<f32>),
    /// Masks: 0 or 1 for each position, both (samples, shape of one target).
    Mask {
        /// The mask.
        values: Vec<u8>,
        /// 1 for each position that loss and metric ignore.
        ignore: Vec<u8>,
    },
}

impl Targets {
    /// The kind of the targets.
    pub fn kind(&self) -> TargetKind {
        match self {
            Targets::Class(_) => TargetKind::Class,
            Targets::Labels(_) => TargetKind::Labels,
            Targets::Field(_) => TargetKind::Field,
            Targets::Mask { .. } => TargetKind::Mask,
        }
    }

    /// The number of values of all samples.
    pub fn len(&self) -> usize {
        match self {
            Targets::Class(classes) => classes.len(),
            Targets::Labels(labels) => labels.len(),
            Targets::Field(field) => field.len(),
            Targets::Mask { values, .. } => values.len(),
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The targets of the samples `samples`, if these are the targets of `rows` samples.
    pub fn select(&self, samples: &[usize], rows: usize) -> Targets {
        fn pick<T: Clone>(values: &[T], samples: &[usize], rows: usize) -> Vec<T> {
            let length = values.len() / rows.max(1);
            let of = |&sample: &usize| values.get(sample * length..(sample + 1) * length).unwrap_or_default();
            samples.iter().flat_map(of).cloned().collect()
        }
        match self {
            Targets::Class(classes) => Targets::Class(pick(classes, samples, rows)),
            Targets::Labels(labels) => Targets::Labels(pick(labels, samples, rows)),
            Targets::Field(field) => Targets::Field(pick(field, samples, rows)),
            Targets::Mask { values, ignore } => {
                Targets::Mask { values: pick(values, samples, rows), ignore: pick(ignore, samples, rows) }
            }
        }
    }

    /// The targets of the samples `first..first + count`, if these are the targets of `rows` samples.
    pub fn part(&self, first: usize, count: usize, rows: usize) -> Targets {
        fn cut<T: Clone>(values: &[T], first: usize, count: usize, rows: usize) -> Vec<T> {
            let length = values.len() / rows.max(1);
            values.get(first * length..(first + count) * length).unwrap_or_default().to_vec()
        }
        match self {
            Targets::Class(classes) => Targets::Class(cut(classes, first, count, rows)),
            Targets::Labels(labels) => Targets::Labels(cut(labels, first, count, rows)),
            Targets::Field(field) => Targets::Field(cut(field, first, count, rows)),
            Targets::Mask { values, ignore } => Targets::Mask {
                values: cut(values, first, count, rows),
                ignore: cut(ignore, first, count, rows),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_selected_sample_by_sample() {
        let labels = Targets::Labels(vec![1, 0, 0, 1, 1, 1]);
        assert_eq!(labels.select(&[2, 0], 3), Targets::Labels(vec![1, 1, 1, 0]));
        let mask = Targets::Mask { values: vec![1, 2, 3, 4], ignore: vec![5, 6, 7, 8] };
        assert_eq!(mask.select(&[1], 2), Targets::Mask { values: vec![3, 4], ignore: vec![7, 8] });
        assert_eq!(Targets::Class(vec![4, 5]).select(&[], 2), Targets::Class(vec![]));
    }
}
