//! The treatment of architecture gradients (DASH, section 5.3).

use candle_core::Tensor;
use dash_core::pipeline::{Candidate, ReceptiveFieldPenalty};
use dash_nn::{Gradients, ParamKind, Params, treated_gradient};

/// Sizes that the pull towards small receptive fields counts with, per candidate.
pub fn field_sizes(pull: ReceptiveFieldPenalty, candidates: &[Candidate]) -> Vec<f64> {
    let size = |c: &Candidate| match pull {
        ReceptiveFieldPenalty::Extent { .. } => c.extent() as f64,
        ReceptiveFieldPenalty::KernelSize { .. } => 10.0 * c.kernel_size as f64,
    };
    candidates.iter().map(size).collect()
}

/// g <- g / (grad_scale (||g|| + 1e-8)) + weight * field, per layer; with grad_scale 0 the raw
/// gradient is kept and only the pull is added.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchGradientRule {
    grad_scale: f64,
    pull: Vec<f64>,
}

impl ArchGradientRule {
    /// The rule of a search space.
    pub fn new(grad_scale: f64, pull: ReceptiveFieldPenalty, candidates: &[Candidate]) -> ArchGradientRule {
        let weight = pull.weight();
        let pull = field_sizes(pull, candidates).into_iter().map(|f| weight * f).collect();
        ArchGradientRule { grad_scale, pull }
    }

    /// The treated gradient of one layer.
    pub fn treat(&self, gradient: &[f32]) -> Vec<f32> {
        let norm = gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        let factor = if self.grad_scale == 0.0 { 1.0 } else { 1.0 / (self.grad_scale * (norm + 1e-8)) };
        gradient.iter().zip(&self.pull).map(|(&g, pull)| (f64::from(g) * factor + pull) as f32).collect()
    }

    /// Treats the gradients of all architecture parameters.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn apply(&self, params: &Params, gradients: &mut Gradients) -> Result<(), dash_nn::Error> {
        let pull: Vec<f32> = self.pull.iter().map(|&pull| pull as f32).collect();
        for (index, _) in params.iter().enumerate().filter(|(_, p)| p.kind() == ParamKind::Architecture) {
            let Some(gradient) = gradients.get(index) else { continue };
            let treated = match treated_gradient(gradient, &pull, self.grad_scale)? {
                Some(treated) => treated,
                None => {
                    let treated = self.treat(&gradient.to_vec1::<f32>()?);
                    Tensor::from_vec(treated, gradient.shape(), gradient.device())?
                }
            };
            gradients.replace(index, treated)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_reference() {
        // DASH, section 5.3: K = {3, 5}, D = {1, 2}, fields (3, 5, 5, 9).
        let candidates = Candidate::enumerate(&[3, 5], &[1, 2]);
        let pull = ReceptiveFieldPenalty::Extent { weight: 1e-5 };
        assert_eq!(field_sizes(pull, &candidates), [3.0, 5.0, 5.0, 9.0]);
        let treated = ArchGradientRule::new(100.0, pull, &candidates).treat(&[0.3, -0.4, 0.0, 0.0]);
        for (got, expected) in treated.iter().zip([0.00603, -0.00795, 0.00005, 0.00009]) {
            assert!((got - expected).abs() < 1e-7, "{got} {expected}");
        }
    }

    #[test]
    fn norms_of_the_pull_in_the_search_spaces() {
        let norm = |pull, k: &[usize], d: &[usize]| {
            let rule = ArchGradientRule::new(0.0, pull, &Candidate::enumerate(k, d));
            rule.pull.iter().map(|p| p * p).sum::<f64>().sqrt()
        };
        let (extent, kernel) = (
            ReceptiveFieldPenalty::Extent { weight: 1e-5 },
            ReceptiveFieldPenalty::KernelSize { weight: 1e-5 },
        );
        let d = [1, 3, 7, 15];
        for (got, expected) in [
            (norm(extent, &[3, 5, 7, 9], &d), 1.87e-3),
            (norm(extent, &[3, 7, 11, 15, 19], &d), 4.36e-3),
            (norm(kernel, &[3, 5, 7, 9], &d), 2.56e-3),
            (norm(extent, &[3, 5, 7], &[1, 3, 7]), 5.98e-4),
        ] {
            assert!((got / expected - 1.0).abs() < 5e-3, "{got} {expected}");
        }
    }

    #[test]
    fn without_scale_only_the_pull_is_added() {
        let rule = ArchGradientRule::new(
            0.0,
            ReceptiveFieldPenalty::KernelSize { weight: 0.5 },
            &Candidate::enumerate(&[3], &[1, 2]),
        );
        assert_eq!(rule.treat(&[1.0, -1.0]), [16.0, 14.0]);
    }
}
