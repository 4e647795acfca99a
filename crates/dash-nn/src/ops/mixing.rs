//! The coefficients of a mixture, and what is done to the gradients of architecture parameters (DASH, section 5).

use candle_core::{D, Result, Tensor};
use dash_kernels::{
    Card, mixing_coefficients as coefficients_on, mixing_gradient, treated_gradient as treated_on,
};

/// softmax(alpha + noise), `[candidates]`, differentiable in alpha.
///
/// # Errors
/// If there is not as much noise as there are parameters.
pub fn mixing_coefficients(alpha: &Tensor, noise: Vec<f32>) -> Result<Tensor> {
    let Some(card) = Card::of(alpha.device()) else {
        let noise = Tensor::from_vec(noise, alpha.elem_count(), alpha.device())?;
        return candle_nn::ops::softmax(&(alpha + noise)?, D::Minus1);
    };
    let value = coefficients_on(&card, card.operand(&alpha.contiguous()?)?.read(), &noise)?;
    let value = card.tensor(value, alpha.shape())?;
    let (on, found) = (card.clone(), value.clone());
    let rule = move |grad: &Tensor| -> Result<Tensor> {
        let dalpha = mixing_gradient(&on, on.operand(&found)?.read(), on.operand(grad)?.read())?;
        on.tensor(dalpha, grad.shape())
    };
    card.node_of_one("mixing-coefficients", alpha, &value, rule)
}

/// A gradient of architecture parameters on a card divided by `scale` and its norm, or as it is if `scale` is zero, with
/// a pull added, without waiting for it; `None` elsewhere.
///
/// # Errors
/// If there is no pull for each parameter.
pub fn treated_gradient(gradient: &Tensor, pull: &[f32], scale: f64) -> Result<Option<Tensor>> {
    let Some(card) = Card::of(gradient.device()) else { return Ok(None) };
    let treated = treated_on(&card, card.operand(&gradient.contiguous()?)?.read(), pull, scale)?;
    card.tensor(treated, gradient.shape()).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::ramp;
    use candle_core::{Device, Var};
    use dash_kernels::Twin;

    #[test]
    fn a_card_has_the_coefficients_of_the_processor() {
        let (noise, grad) = (ramp(15, 2), ramp(15, 3));
        let alpha = Var::from_vec(ramp(15, 1).iter().map(|v| 5.0 * v).collect(), 15, &Device::Cpu).unwrap();
        let out = Tensor::from_slice(&grad, 15, &Device::Cpu).unwrap();
        let here = mixing_coefficients(&alpha, noise.clone()).unwrap();
        let gradient = (&here * &out).unwrap().sum_all().unwrap().backward().unwrap();
        let dalpha = gradient.get(&alpha).unwrap().to_vec1::<f32>().unwrap();
        let card = Card::Twin(Twin::default());
        let there = coefficients_on(&card, card.operand(&alpha).unwrap().read(), &noise).unwrap();
        let dalpha_there =
            mixing_gradient(&card, card.read(&there), card.operand(&out).unwrap().read()).unwrap();
        for (found, expected) in [(there, here.to_vec1::<f32>().unwrap()), (dalpha_there, dalpha)] {
            for (found, expected) in card.download(&found).unwrap().iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        assert!(coefficients_on(&card, card.operand(&alpha).unwrap().read(), &noise[1..]).is_err());
    }

    #[test]
    fn gradients_are_normed_and_pulled() {
        let (grad, pull) = ([3.0f32, -4.0, 0.0], [0.5f32, 0.0, -0.25]);
        let card = Card::Twin(Twin::default());
        let of = |scale| {
            let grad = Tensor::new(&grad, &Device::Cpu).unwrap();
            let treated = treated_on(&card, card.operand(&grad).unwrap().read(), &pull, scale).unwrap();
            card.download(&treated).unwrap()
        };
        assert_eq!(of(0.0), [3.5, -4.0, -0.25]);
        for (found, expected) in of(2.0).iter().zip([0.8f32, -0.4, -0.25]) {
            assert!((found - expected).abs() < 1e-6);
        }
    }
}
