//! Reads a scalar back from a GPU asynchronously.

use crate::{error::Error, gpu::Gpu};
#[cfg(feature = "cuda")]
use crate::{error::failed, transfer::PinnedBuffer};
use candle_core::{Result, Tensor};

/// A scalar that the GPU copies to the host once it is computed, while later launches continue.
pub struct AsyncScalar {
    gpu: Gpu,
    pending: Option<Pending>,
}

/// Where the scalar arrives.
enum Pending {
    #[cfg(feature = "cuda")]
    Cuda(PinnedBuffer),
    /// The emulator computes synchronously.
    #[cfg(feature = "emulator")]
    Emulator(f32),
    #[allow(dead_code, reason = "without the features")]
    None,
}

impl AsyncScalar {
    /// A read-back of scalars of `gpu`; it can be used again.
    pub fn new(gpu: Gpu) -> AsyncScalar {
        AsyncScalar { gpu, pending: None }
    }

    /// Records a copy of a scalar behind everything that was launched before.
    ///
    /// # Errors
    /// If it is not one element of f32 on the GPU.
    pub fn record(&mut self, number: &Tensor) -> Result<()> {
        let number = number.reshape(1)?;
        match &self.gpu {
            #[cfg(feature = "cuda")]
            Gpu::Cuda(device) => {
                use candle_core::cuda_backend::cudarc::driver::{DevicePtr, result};
                let stream = device.cuda_stream();
                let mut to = match self.pending.take() {
                    Some(Pending::Cuda(locked)) => locked,
                    _ => PinnedBuffer::new(&stream, size_of::<f32>(), false)?,
                };
                {
                    let (storage, layout) = number.storage_and_layout();
                    let candle_core::Storage::Cuda(storage) = &*storage else {
                        candle_core::bail!("the scalar is on another device")
                    };
                    let start = layout.start_offset();
                    let view = storage.as_cuda_slice::<f32>()?.slice(start..start + 1);
                    let (address, _recorded) = view.device_ptr(&stream);
                    to.used(&stream, "copying a scalar from the GPU", |bytes| {
                        // SAFETY: one element is at the address, whose memory is freed in the order of the stream.
                        #[allow(unsafe_code)]
                        unsafe {
                            result::memcpy_dtoh_async(bytes, address, stream.cu_stream())
                        }
                    })?;
                }
                self.pending = Some(Pending::Cuda(to));
            }
            #[cfg(feature = "emulator")]
            Gpu::Emulator(_) => {
                self.pending = number.to_vec1::<f32>()?.first().copied().map(Pending::Emulator);
            }
            Gpu::None(never) => (*never).none(),
        }
        Ok(())
    }

    /// Waits for the recorded scalar, but not for what was launched after it.
    ///
    /// # Errors
    /// If none was recorded, or the GPU failed in the meantime.
    pub fn wait(&mut self) -> std::result::Result<f32, Error> {
        match self.pending.as_mut() {
            #[cfg(feature = "cuda")]
            Some(Pending::Cuda(locked)) => {
                let bytes = <[u8; 4]>::try_from(&*locked.bytes()?);
                bytes.map(f32::from_ne_bytes).map_err(|e| failed("waiting for a scalar", &e))
            }
            #[cfg(feature = "emulator")]
            Some(Pending::Emulator(value)) => Ok(*value),
            _ => Err(Error::Gpu {
                what: "waiting for a scalar".to_owned(),
                reason: "none was recorded".to_owned(),
            }),
        }
    }
}

#[cfg(all(test, feature = "emulator"))]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn recorded_scalars_are_read_back() {
        let mut read_back = AsyncScalar::new(Gpu::emulated());
        assert_eq!(
            read_back.wait().unwrap_err().to_string(),
            "the GPU failed at waiting for a scalar: none was recorded"
        );
        let tensor = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        read_back.record(&tensor.narrow(1, 1, 1).unwrap()).unwrap();
        assert_eq!(read_back.wait().unwrap(), 2.0);
        assert!(read_back.record(&tensor).is_err(), "two elements are not one");
    }
}
