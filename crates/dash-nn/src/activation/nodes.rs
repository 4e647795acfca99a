//! The nodes of candle's graph that tokens are. Each takes the gradient that the consumers of its
//! output left, and leaves that of its input.

use super::gradient::{Cell, Gradient};
use crate::ops::Values;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// Gradients of an activation, if wanted, and of two parameters.
pub(crate) type Gradients = (Option<Tensor>, [Tensor; 2]);

/// A new token.
fn token() -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
}

/// A new token on a GPU.
#[cfg(feature = "cuda")]
fn cuda_token(near: &CudaStorage) -> Result<(CudaStorage, Shape)> {
    let device = near.device.clone();
    Ok((CudaStorage::wrap_cuda_slice(device.alloc_zeros::<f32>(1)?, device), Shape::from(1)))
}

/// The gradient of a token: it says nothing but that the visit goes on.
fn visit(token: &Tensor) -> Result<Option<Tensor>> {
    if token.track_op() { token.zeros_like().map(Some) } else { Ok(None) }
}

/// From a tensor of candle's graph to the token of an activation.
pub(super) struct Enter(pub(super) Cell);

impl CustomOp1 for Enter {
    fn name(&self) -> &'static str {
        "enter-activations"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, near: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda_token(near)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.take(self.name())?.tensor))
    }
}

/// From an activation to a tensor of candle's graph.
pub(super) struct Leave {
    pub(super) value: Tensor,
    pub(super) gradient: Cell,
}

impl CustomOp1 for Leave {
    fn name(&self) -> &'static str {
        "leave-activations"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = Values::of(self.name(), &self.value)?;
        Ok((CpuStorage::F32(values.as_slice().to_vec()), self.value.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        use candle_core::{Storage, backend::BackendStorage};
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, self.value.shape().clone())),
            _ => candle_core::bail!("{}: the values are on another device than the token", self.name()),
        }
    }

    fn bwd(&self, token: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // Whether candle keeps the memory of `grad` elsewhere is not ours to know.
        self.gradient.leave(Gradient { tensor: grad.contiguous()?, shared: true })?;
        visit(token)
    }
}

/// An operation on one activation.
pub(super) struct Map<R> {
    pub(super) name: &'static str,
    pub(super) input: Cell,
    pub(super) output: Cell,
    pub(super) rule: R,
}

impl<R: Fn(&Tensor) -> Result<Tensor>> CustomOp1 for Map<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, near: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda_token(near)
    }

    fn bwd(&self, token: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let grad = self.output.take(self.name)?;
        self.input.leave(Gradient { tensor: (self.rule)(&grad.tensor)?, shared: false })?;
        visit(token)
    }
}

/// An operation on one activation with two parameters.
pub(super) struct MapWithParameters<R> {
    pub(super) name: &'static str,
    pub(super) input: Cell,
    pub(super) output: Cell,
    pub(super) rule: R,
}

impl<R: Fn(&Tensor, [&Tensor; 2], bool) -> Result<Gradients>> CustomOp3 for MapWithParameters<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        token()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        near: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda_token(near)
    }

    fn bwd(
        &self,
        token: &Tensor,
        first: &Tensor,
        second: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = self.output.take(self.name)?;
        let (input, [first, second]) = (self.rule)(&grad.tensor, [first, second], token.track_op())?;
        if let Some(tensor) = input {
            self.input.leave(Gradient { tensor, shared: false })?;
        }
        Ok((visit(token)?, Some(first), Some(second)))
    }
}

/// The sum of two activations.
pub(super) struct Add {
    pub(super) inputs: [Cell; 2],
    pub(super) output: Cell,
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        near: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda_token(near)
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = self.output.take(self.name())?;
        let tokens = [first, second];
        // Two inputs get the same memory. It stays marked even after one of them is done with it.
        let shared = grad.shared || tokens.iter().all(|token| token.track_op());
        for (token, input) in tokens.into_iter().zip(&self.inputs) {
            if token.track_op() {
                input.leave(Gradient { tensor: grad.tensor.clone(), shared })?;
            }
        }
        Ok((visit(first)?, visit(second)?))
    }
}

/// The same values in another shape.
pub(super) struct Reshape {
    /// Of the input.
    pub(super) shape: Shape,
    pub(super) input: Cell,
    pub(super) output: Cell,
}

impl CustomOp1 for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, near: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda_token(near)
    }

    fn bwd(&self, token: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let Gradient { tensor, shared } = self.output.take(self.name())?;
        self.input.leave(Gradient { tensor: tensor.reshape(&self.shape)?, shared })?;
        visit(token)
    }
}
