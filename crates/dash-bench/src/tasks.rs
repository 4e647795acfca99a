//! Lists the shapes of the ten tasks.

use crate::Error;
use dash_core::pipeline::Candidate;

/// Shapes and search space of one of the ten NAS-Bench-360 tasks.
#[derive(Debug, PartialEq, Eq)]
pub struct TaskShape {
    /// The task, as in its pipeline file.
    pub name: &'static str,
    /// Shape of one sample: channels, then spatial axes.
    pub input: &'static [usize],
    /// Number of classes, or channels of the predicted field.
    pub outputs: usize,
    /// Whether the task is dense prediction: a field instead of a class.
    pub dense: bool,
    /// Kernel sizes of the search space.
    pub kernel_sizes: &'static [usize],
    /// Dilations of the search space.
    pub dilations: &'static [usize],
    /// Batch size of the DASH paper.
    pub batch: usize,
}

const KERNELS_2D: &[usize] = &[3, 5, 7, 9];
const KERNELS_1D: &[usize] = &[3, 7, 11, 15, 19];
const DILATIONS: &[usize] = &[1, 3, 7, 15];

/// The ten tasks. The rest of the program takes shapes and search spaces from datasets and pipeline files; benchmarks
/// use this table so that speed can be measured without data.
pub static TASKS: [TaskShape; 10] = [
    classes("cifar100", &[3, 32, 32], 100, KERNELS_2D, 64),
    classes("spherical", &[3, 60, 60], 100, KERNELS_2D, 64),
    TaskShape { dilations: &[1, 3, 7], ..classes("ninapro", &[1, 16, 52], 18, &[3, 5, 7], 128) },
    classes("fsd50k", &[1, 96, 102], 200, KERNELS_2D, 128),
    field("darcy-flow", &[3, 85, 85], 10),
    field("psicov", &[57, 128, 128], 8),
    field("cosmic", &[1, 128, 128], 4),
    classes("ecg", &[1, 1000], 4, KERNELS_1D, 1024),
    classes("satellite", &[1, 46], 24, KERNELS_1D, 256),
    classes("deepsea", &[4, 1000], 36, KERNELS_1D, 256),
];

const fn classes(
    name: &'static str,
    input: &'static [usize],
    outputs: usize,
    kernel_sizes: &'static [usize],
    batch: usize,
) -> TaskShape {
    TaskShape { name, input, outputs, dense: false, kernel_sizes, dilations: DILATIONS, batch }
}

const fn field(name: &'static str, input: &'static [usize], batch: usize) -> TaskShape {
    TaskShape { dense: true, ..classes(name, input, 1, KERNELS_2D, batch) }
}

impl TaskShape {
    /// Returns the task with this name.
    ///
    /// # Errors
    /// [`Error::UnknownTask`] if there is none.
    pub fn named(name: &str) -> Result<&'static TaskShape, Error> {
        TASKS.iter().find(|task| task.name == name).ok_or_else(|| Error::UnknownTask {
            name: name.to_owned(),
            known: TASKS.iter().map(|task| task.name).collect(),
        })
    }
}

/// The kernels of a retrained network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelPattern {
    /// Candidates from the whole search space.
    Spread,
    /// Kernel size 3, dilation 1 everywhere.
    Plain,
}

impl KernelPattern {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            KernelPattern::Spread => "spread",
            KernelPattern::Plain => "3x1",
        }
    }

    /// One kernel for each of `layers` convolutions. `Spread` takes every fifth candidate in turn; candidates are
    /// ordered by dilation, then by kernel size.
    pub(crate) fn candidates(self, task: &TaskShape, layers: usize) -> Vec<Candidate> {
        let candidates: Vec<Candidate> = match self {
            KernelPattern::Plain => vec![Candidate { kernel_size: 3, dilation: 1 }],
            KernelPattern::Spread => (task.dilations.iter())
                .flat_map(|&dilation| {
                    task.kernel_sizes.iter().map(move |&kernel_size| Candidate { kernel_size, dilation })
                })
                .collect(),
        };
        candidates.iter().copied().cycle().step_by(5).take(layers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_pattern_takes_every_fifth_candidate() {
        let pairs = |kernels: KernelPattern, name: &str, layers: usize| -> Vec<(usize, usize)> {
            kernels
                .candidates(TaskShape::named(name).unwrap(), layers)
                .iter()
                .map(|c| (c.kernel_size, c.dilation))
                .collect()
        };
        let spread = [(3, 1), (5, 3), (7, 7), (9, 15), (3, 3), (5, 7), (7, 15)];
        assert_eq!(pairs(KernelPattern::Spread, "cifar100", 7), spread);
        assert_eq!(pairs(KernelPattern::Spread, "ninapro", 4), [(3, 1), (7, 3), (5, 1), (3, 7)]);
        assert_eq!(pairs(KernelPattern::Spread, "ecg", 5), [(3, 1), (3, 3), (3, 7), (3, 15), (3, 1)]);
        assert_eq!(pairs(KernelPattern::Plain, "ecg", 9), [(3, 1); 9]);
    }
}
