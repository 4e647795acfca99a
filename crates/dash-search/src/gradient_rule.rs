//! Applies the rule for architecture gradients: normalisation and receptive-field penalty (DASH, section 5.3).

use dash_core::pipeline::{Candidate, ReceptiveFieldPenalty};
use dash_nn::{Gradients, ParamKind, Params, arch_gradient};

/// The size of each candidate's receptive field, as the receptive-field penalty counts it.
pub fn field_sizes(penalty: ReceptiveFieldPenalty, candidates: &[Candidate]) -> Vec<f64> {
    let size = |c: &Candidate| match penalty {
        ReceptiveFieldPenalty::Extent { .. } => c.extent() as f64,
        ReceptiveFieldPenalty::KernelSize { .. } => 10.0 * c.kernel_size as f64,
    };
    candidates.iter().map(size).collect()
}

/// The published rule for the gradient g of a layer's architecture parameters:
/// g <- g / (grad_scale (||g|| + 1e-8)) + weight * size, with the receptive field's size of each candidate. With
/// `grad_scale` 0 the gradient is not normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchGradientRule {
    grad_scale: f64,
    /// Penalty per candidate.
    penalty: Vec<f64>,
}

impl ArchGradientRule {
    /// The rule of a search space.
    pub fn new(
        grad_scale: f64,
        penalty: ReceptiveFieldPenalty,
        candidates: &[Candidate],
    ) -> ArchGradientRule {
        let sizes = field_sizes(penalty, candidates).into_iter();
        let penalty = sizes.map(|size| penalty.weight() * size).collect();
        ArchGradientRule { grad_scale, penalty }
    }

    /// The rule's result for the gradient of one layer.
    pub fn adjusted(&self, gradient: &[f32]) -> Vec<f32> {
        arch_gradient(gradient, &self.penalty, self.grad_scale)
    }

    /// Applies the rule to the gradients of all architecture parameters.
    ///
    /// # Errors
    /// If a gradient cannot be read.
    pub fn apply(&self, params: &Params, gradients: &mut Gradients) -> Result<(), dash_nn::Error> {
        for (index, _) in params.iter().enumerate().filter(|(_, p)| p.kind() == ParamKind::Architecture) {
            let Some(gradient) = gradients.get(index) else { continue };
            let adjusted = params.backend().arch_gradient(gradient, &self.penalty, self.grad_scale)?;
            gradients.replace(index, adjusted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper() {
        // DASH, section 5.3: K = {3, 5}, D = {1, 2}, fields (3, 5, 5, 9).
        let candidates = Candidate::enumerate(&[3, 5], &[1, 2]);
        let penalty = ReceptiveFieldPenalty::Extent { weight: 1e-5 };
        assert_eq!(field_sizes(penalty, &candidates), [3.0, 5.0, 5.0, 9.0]);
        let adjusted = ArchGradientRule::new(100.0, penalty, &candidates).adjusted(&[0.3, -0.4, 0.0, 0.0]);
        for (got, expected) in adjusted.iter().zip([0.00603, -0.00795, 0.00005, 0.00009]) {
            assert!((got - expected).abs() < 1e-7, "{got} {expected}");
        }
    }

    #[test]
    fn norms_of_the_penalty_in_the_published_search_spaces() {
        let norm = |penalty, k: &[usize], d: &[usize]| {
            let rule = ArchGradientRule::new(0.0, penalty, &Candidate::enumerate(k, d));
            rule.penalty.iter().map(|p| p * p).sum::<f64>().sqrt()
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
    fn without_normalisation_only_the_penalty_is_added() {
        let rule = ArchGradientRule::new(
            0.0,
            ReceptiveFieldPenalty::KernelSize { weight: 0.5 },
            &Candidate::enumerate(&[3], &[1, 2]),
        );
        assert_eq!(rule.adjusted(&[1.0, -1.0]), [16.0, 14.0]);
    }
}
