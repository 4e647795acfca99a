//! Holds the gradients of a loss as an owned list, and clips them by their global norm.

use crate::{
    backend::{Backend, GradientScale, cpu},
    error::{Error, Result},
    params::Params,
};
use candle_core::{Device, Tensor};

/// The gradients of a loss, aligned with the parameters of a network.
pub struct Gradients {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) scale: GradientScale,
    backend: Backend,
}

impl Gradients {
    /// Runs the backward pass of `loss`.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if the loss does not depend on a parameter.
    pub fn of(loss: &Tensor, params: &Params) -> Result<Gradients> {
        let mut store = loss.backward()?;
        let tensors = params
            .iter()
            .map(|p| match store.remove(p.var()) {
                Some(grad) => Ok(grad.contiguous()?),
                None => Err(Error::NoGradient { name: p.name().to_owned() }),
            })
            .collect::<Result<_>>()?;
        Ok(Gradients { tensors, scale: GradientScale::Known(1.0), backend: params.backend().clone() })
    }

    /// The gradient of parameter `index`, before clipping.
    pub fn get(&self, index: usize) -> Option<&Tensor> {
        self.tensors.get(index)
    }

    /// Replaces the gradient of parameter `index` by one of the same shape. Call it before [`Gradients::clip`].
    ///
    /// # Errors
    /// If the shapes differ or there is no such parameter.
    pub fn replace(&mut self, index: usize, grad: Tensor) -> Result<()> {
        match self.tensors.get_mut(index) {
            Some(old) if old.dims() == grad.dims() => {
                *old = grad.contiguous()?;
                Ok(())
            }
            Some(old) => Err(Error::State {
                name: format!("gradient {index}"),
                reason: format!("is {:?} instead of {:?}", grad.dims(), old.dims()),
            }),
            None => {
                Err(Error::State { name: format!("gradient {index}"), reason: "does not exist".to_owned() })
            }
        }
    }

    /// L2 norm over all gradients, before clipping.
    pub fn norm(&self) -> Result<f64> {
        let on_host = self.tensors.iter().map(|tensor| tensor.to_device(&Device::Cpu));
        Ok(cpu::gradient_norm(&on_host.collect::<candle_core::Result<Vec<_>>>()?)?)
    }

    /// Scales all gradients by min(1, max_norm / (norm + 1e-6)), as PyTorch's `clip_grad_norm_`. A GPU computes
    /// the factor without waiting for the host.
    pub fn clip(&mut self, max_norm: f64) -> Result<()> {
        self.scale = self.backend.clip_scale(&self.tensors, max_norm)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Init, ParamBuilder, backend::Backend};

    fn two() -> Params {
        let mut b = ParamBuilder::new(1, 0, &Backend::cpu());
        b.weight("w", 3, Init::Normal { std: 1.0 }).unwrap();
        b.architecture("alpha", 2, Init::Normal { std: 1.0 }).unwrap();
        b.finish()
    }

    /// loss = sum of w^2 + 3 * sum of alpha.
    fn loss(params: &Params) -> Tensor {
        let mut it = params.iter();
        let w = it.next().unwrap().var().sqr().unwrap().sum_all().unwrap();
        (w + (it.next().unwrap().var().sum_all().unwrap() * 3.0).unwrap()).unwrap()
    }

    #[test]
    fn replaced_gradients_are_used_and_must_fit() {
        let params = two();
        let mut grads = Gradients::of(&loss(&params), &params).unwrap();
        let zero = |n: usize| Tensor::zeros(n, candle_core::DType::F32, &Device::Cpu).unwrap();
        grads.replace(0, zero(3)).unwrap();
        assert!((grads.norm().unwrap() - 18f64.sqrt()).abs() < 1e-6);
        assert!(grads.replace(1, zero(3)).is_err());
        assert!(grads.replace(2, zero(3)).is_err());
    }

    #[test]
    fn parameters_without_influence_are_named() {
        let params = two();
        let partial = params.iter().next().unwrap().var().sum_all().unwrap();
        let error = Gradients::of(&partial, &params).err().unwrap();
        assert_eq!(error.to_string(), "parameter `alpha` has no influence on the loss");
    }
}
