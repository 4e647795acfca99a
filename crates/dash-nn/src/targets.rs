//! What the samples of a batch should be predicted as.

use dash_core::card::TargetKind;

/// What a batch should be predicted as.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// One class per sample.
    Class(Vec<i64>),
    /// 0 or 1 for each label, sample after sample.
    Labels(Vec<u8>),
    /// The values of one field per sample, sample after sample, in the order of the output.
    Field(Vec<f32>),
    /// 0 or 1 for each position, sample after sample, in the order of the output.
    Mask {
        /// What is there.
        values: Vec<u8>,
        /// 1 where neither loss nor metric look.
        ignore: Vec<u8>,
    },
}

impl Targets {
    /// What they are.
    pub fn kind(&self) -> TargetKind {
        match self {
            Targets::Class(_) => TargetKind::Class,
            Targets::Labels(_) => TargetKind::Labels,
            Targets::Field(_) => TargetKind::Field,
            Targets::Mask { .. } => TargetKind::Mask,
        }
    }

    /// Number of values of all samples.
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

    /// Those of the samples at `places`, of `rows` in all.
    pub fn select(&self, places: &[usize], rows: usize) -> Targets {
        fn pick<T: Clone>(values: &[T], places: &[usize], rows: usize) -> Vec<T> {
            let length = values.len() / rows.max(1);
            let sample =
                |&place: &usize| values.get(place * length..(place + 1) * length).unwrap_or_default();
            places.iter().flat_map(sample).cloned().collect()
        }
        match self {
            Targets::Class(classes) => Targets::Class(pick(classes, places, rows)),
            Targets::Labels(labels) => Targets::Labels(pick(labels, places, rows)),
            Targets::Field(field) => Targets::Field(pick(field, places, rows)),
            Targets::Mask { values, ignore } => {
                Targets::Mask { values: pick(values, places, rows), ignore: pick(ignore, places, rows) }
            }
        }
    }

    /// Those of `count` samples from `first` on, of `rows` in all.
    pub(crate) fn part(&self, first: usize, count: usize, rows: usize) -> Targets {
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
