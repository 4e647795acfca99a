//! Declares what a network computes.

use crate::{
    activation::Activation,
    backend::{Backend, ShapeBackend, ShapeTrace},
    context::ForwardContext,
    error::Result,
};
use candle_core::Tensor;

/// A network that can be trained and evaluated.
pub trait Network: Send + Sync {
    /// [B, C, ...] -> [B, outputs], or [B, outputs, ...] for dense prediction.
    ///
    /// # Errors
    /// If the input does not fit the network, or the device fails.
    fn forward(&self, x: &Tensor, pass: &ForwardContext) -> candle_core::Result<Tensor>;

    /// What a training step on inputs of shape [B, C, ...] computes and needs, from a forward pass that computes nothing but
    /// shapes.
    ///
    /// # Errors
    /// If the input does not fit the network.
    fn trace(&self, input: &[usize]) -> Result<ShapeTrace>;
}

/// The layers of a network.
pub(super) trait Layers: Send + Sync {
    fn forward(&self, x: Activation, pass: &ForwardContext) -> candle_core::Result<Activation>;
}

/// The layers of a network, and what computes them.
pub(super) struct LayeredNetwork {
    pub(super) layers: Box<dyn Layers>,
    pub(super) backend: Backend,
}

impl Network for LayeredNetwork {
    fn forward(&self, x: &Tensor, pass: &ForwardContext) -> candle_core::Result<Tensor> {
        self.layers.forward(Activation::from_tensor(&self.backend, x)?, pass)?.into_tensor()
    }

    fn trace(&self, input: &[usize]) -> Result<ShapeTrace> {
        let recorder = ShapeBackend::new(&self.backend);
        let training = ForwardContext { training: true, ..ForwardContext::evaluation() };
        let output = Activation::of_shape(recorder.clone(), input)
            .and_then(|x| self.layers.forward(x, &training))
            .map_err(|error| recorder.error(error))?;
        recorder.record_output(output.value());
        Ok(recorder.trace())
    }
}
