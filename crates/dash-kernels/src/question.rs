//! A number of a card that is looked at later.

#[cfg(feature = "cuda")]
use crate::card::failed;
use crate::card::{Card, Error};
#[cfg(feature = "cuda")]
use crate::staging::Locked;
use candle_core::{Result, Tensor};

/// A number that a card copies to the processor when it has it, while what was launched behind it goes on.
pub struct Question {
    card: Card,
    asked: Option<Asked>,
}

/// Where the number will be.
enum Asked {
    #[cfg(feature = "cuda")]
    Cuda(Locked),
    /// The twin is done at once.
    #[cfg(feature = "twin")]
    Twin(f32),
    #[allow(dead_code, reason = "without the features")]
    None,
}

impl Question {
    /// For numbers of `card`.
    pub fn new(card: Card) -> Question {
        Question { card, asked: None }
    }

    /// Has a number copied as soon as it is computed.
    ///
    /// # Errors
    /// If it is not one number of f32 on the card.
    pub fn ask(&mut self, number: &Tensor) -> Result<()> {
        let number = number.reshape(1)?;
        match &self.card {
            #[cfg(feature = "cuda")]
            Card::Cuda(device) => {
                use candle_core::cuda_backend::cudarc::driver::{DevicePtr, result};
                let stream = device.cuda_stream();
                let mut to = match self.asked.take() {
                    Some(Asked::Cuda(locked)) => locked,
                    _ => Locked::new(&stream, size_of::<f32>(), false)?,
                };
                {
                    let (storage, layout) = number.storage_and_layout();
                    let candle_core::Storage::Cuda(storage) = &*storage else {
                        candle_core::bail!("the number is on another device")
                    };
                    let start = layout.start_offset();
                    let view = storage.as_cuda_slice::<f32>()?.slice(start..start + 1);
                    let (address, _recorded) = view.device_ptr(&stream);
                    to.used(&stream, "copying a number from the card", |bytes| {
                        // SAFETY: one number is at the address, whose memory is given back in the order of the stream.
                        #[allow(unsafe_code)]
                        unsafe {
                            result::memcpy_dtoh_async(bytes, address, stream.cu_stream())
                        }
                    })?;
                }
                self.asked = Some(Asked::Cuda(to));
            }
            #[cfg(feature = "twin")]
            Card::Twin(_) => self.asked = number.to_vec1::<f32>()?.first().copied().map(Asked::Twin),
            Card::None(never) => (*never).none(),
        }
        Ok(())
    }

    /// The number that was asked for, once it is there: what was launched after the question is not waited for.
    ///
    /// # Errors
    /// If none was asked for, or the card failed meanwhile.
    pub fn answer(&mut self) -> std::result::Result<f32, Error> {
        match self.asked.as_mut() {
            #[cfg(feature = "cuda")]
            Some(Asked::Cuda(locked)) => {
                let bytes = <[u8; 4]>::try_from(&*locked.bytes()?);
                bytes.map(f32::from_ne_bytes).map_err(|e| failed("waiting for a number", &e))
            }
            #[cfg(feature = "twin")]
            Some(Asked::Twin(value)) => Ok(*value),
            _ => Err(Error::Card {
                what: "waiting for a number".to_owned(),
                reason: "none was asked for".to_owned(),
            }),
        }
    }
}

#[cfg(all(test, feature = "twin"))]
mod tests {
    use super::*;
    use crate::Twin;
    use candle_core::Device;

    #[test]
    fn numbers_come_when_asked_for() {
        let mut question = Question::new(Card::Twin(Twin::default()));
        assert_eq!(
            question.answer().unwrap_err().to_string(),
            "the card failed at waiting for a number: none was asked for"
        );
        let tensor = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        question.ask(&tensor.narrow(1, 1, 1).unwrap()).unwrap();
        assert_eq!(question.answer().unwrap(), 2.0);
        assert!(question.ask(&tensor).is_err(), "two are not one number");
    }
}
