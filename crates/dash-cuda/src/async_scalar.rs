//! A number of a GPU that is looked at later.

#[cfg(feature = "cuda")]
use crate::gpu::failed;
use crate::gpu::{Error, Gpu};
#[cfg(feature = "cuda")]
use crate::transfer::PinnedBuffer;
use candle_core::{Result, Tensor};

/// A number that a GPU copies to the CPU when it has it, while what was launched behind it goes on.
pub struct AsyncScalar {
    gpu: Gpu,
    pending: Option<Pending>,
}

/// Where the number will be.
enum Pending {
    #[cfg(feature = "cuda")]
    Cuda(PinnedBuffer),
    /// The emulator is done at once.
    #[cfg(feature = "emulator")]
    Emulator(f32),
    #[allow(dead_code, reason = "without the features")]
    None,
}

impl AsyncScalar {
    /// For numbers of `gpu`.
    pub fn new(gpu: Gpu) -> AsyncScalar {
        AsyncScalar { gpu, pending: None }
    }

    /// Has a number copied as soon as it is computed.
    ///
    /// # Errors
    /// If it is not one number of f32 on the GPU.
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
                        candle_core::bail!("the number is on another device")
                    };
                    let start = layout.start_offset();
                    let view = storage.as_cuda_slice::<f32>()?.slice(start..start + 1);
                    let (address, _recorded) = view.device_ptr(&stream);
                    to.used(&stream, "copying a number from the GPU", |bytes| {
                        // SAFETY: one number is at the address, whose memory is given back in the order of the stream.
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
                self.pending = number.to_vec1::<f32>()?.first().copied().map(Pending::Emulator)
            }
            Gpu::None(never) => (*never).none(),
        }
        Ok(())
    }

    /// The number that was asked for, once it is there: what was launched after the question is not waited for.
    ///
    /// # Errors
    /// If none was asked for, or the GPU failed meanwhile.
    pub fn wait(&mut self) -> std::result::Result<f32, Error> {
        match self.pending.as_mut() {
            #[cfg(feature = "cuda")]
            Some(Pending::Cuda(locked)) => {
                let bytes = <[u8; 4]>::try_from(&*locked.bytes()?);
                bytes.map(f32::from_ne_bytes).map_err(|e| failed("waiting for a number", &e))
            }
            #[cfg(feature = "emulator")]
            Some(Pending::Emulator(value)) => Ok(*value),
            _ => Err(Error::Gpu {
                what: "waiting for a number".to_owned(),
                reason: "none was asked for".to_owned(),
            }),
        }
    }
}

#[cfg(all(test, feature = "emulator"))]
mod tests {
    use super::*;
    use crate::Emulator;
    use candle_core::Device;

    #[test]
    fn numbers_come_when_asked_for() {
        let mut read_back = AsyncScalar::new(Gpu::Emulator(Emulator::default()));
        assert_eq!(
            read_back.wait().unwrap_err().to_string(),
            "the GPU failed at waiting for a number: none was asked for"
        );
        let tensor = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        read_back.record(&tensor.narrow(1, 1, 1).unwrap()).unwrap();
        assert_eq!(read_back.wait().unwrap(), 2.0);
        assert!(read_back.record(&tensor).is_err(), "two are not one number");
    }
}
