//! The operations of candle's graph whose results are tape nodes. Each takes the gradient that the consumers of its output
//! added up, and adds that of its input.

use super::gradient::{Gradient, GradientSlot};
use crate::backend::{Backward, ParamBackward, cpu::Values};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// A new tape node.
fn node() -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
}

/// A new tape node on a GPU.
#[cfg(feature = "cuda")]
fn cuda_node(near: &CudaStorage) -> Result<(CudaStorage, Shape)> {
    let device = near.device.clone();
    Ok((CudaStorage::wrap_cuda_slice(device.alloc_zeros::<f32>(1)?, device), Shape::from(1)))
}

/// The gradient of a tape node: a zero, with which candle continues to visit what the node depends on.
fn visit(node: &Tensor) -> Result<Option<Tensor>> {
    if node.track_op() { node.zeros_like().map(Some) } else { Ok(None) }
}

/// From a tensor of candle's graph to the tape node of an activation.
pub(super) struct Attach(pub(super) GradientSlot);

impl CustomOp1 for Attach {
    fn name(&self) -> &'static str {
        "attach-activation"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        node()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, near: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda_node(near)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.take(self.name())?.tensor))
    }
}

/// From an activation to a tensor of candle's graph.
pub(super) struct Detach {
    pub(super) value: Tensor,
    pub(super) gradient: GradientSlot,
}

impl CustomOp1 for Detach {
    fn name(&self) -> &'static str {
        "detach-activation"
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
            _ => candle_core::bail!("{}: the values are on another device than the tape node", self.name()),
        }
    }

    fn bwd(&self, node: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        // candle may read the memory of `grad` elsewhere.
        self.gradient.add(Gradient { tensor: grad.contiguous()?, shared: true })?;
        visit(node)
    }
}

/// An operation on one activation.
pub(super) struct Unary {
    pub(super) name: &'static str,
    pub(super) input: GradientSlot,
    pub(super) output: GradientSlot,
    pub(super) backward: Backward,
}

impl CustomOp1 for Unary {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        node()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, near: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda_node(near)
    }

    fn bwd(&self, node: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let grad = self.output.take(self.name)?;
        self.input.add(Gradient { tensor: (self.backward)(&grad.tensor)?, shared: false })?;
        visit(node)
    }
}

/// An operation on one activation with two parameters.
pub(super) struct Parametrised {
    pub(super) name: &'static str,
    pub(super) input: GradientSlot,
    pub(super) output: GradientSlot,
    pub(super) backward: ParamBackward,
}

impl CustomOp3 for Parametrised {
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
        node()
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
        cuda_node(near)
    }

    fn bwd(
        &self,
        node: &Tensor,
        first: &Tensor,
        second: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = self.output.take(self.name)?;
        let gradients = (self.backward)(&grad.tensor, [first, second], node.track_op())?;
        if let Some(tensor) = gradients.input {
            self.input.add(Gradient { tensor, shared: false })?;
        }
        let [first, second] = gradients.parameters;
        Ok((visit(node)?, Some(first), Some(second)))
    }
}

/// The sum of two activations.
pub(super) struct Add {
    pub(super) inputs: [GradientSlot; 2],
    pub(super) output: GradientSlot,
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        node()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        near: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        cuda_node(near)
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        _: &Tensor,
        _: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = self.output.take(self.name())?;
        let nodes = [first, second];
        // Two inputs get the same memory. It stays marked even after one of them is done with it.
        let shared = grad.shared || nodes.iter().all(|node| node.track_op());
        for (node, input) in nodes.into_iter().zip(&self.inputs) {
            if node.track_op() {
                input.add(Gradient { tensor: grad.tensor.clone(), shared })?;
            }
        }
        Ok((visit(first)?, visit(second)?))
    }
}

/// The same values in another shape.
pub(super) struct Reshape {
    /// Shape of the input.
    pub(super) shape: Shape,
    pub(super) input: GradientSlot,
    pub(super) output: GradientSlot,
}

impl CustomOp1 for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        node()
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, near: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        cuda_node(near)
    }

    fn bwd(&self, node: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        let Gradient { tensor, shared } = self.output.take(self.name())?;
        self.input.add(Gradient { tensor: tensor.reshape(&self.shape)?, shared })?;
        visit(node)
    }
}
