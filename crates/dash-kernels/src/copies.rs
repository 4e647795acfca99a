//! Copies between a card and the processor that nobody waits for.

#[cfg(feature = "cuda")]
use crate::card::failed;
use crate::{
    Memory,
    card::{Card, Error},
};
#[cfg(feature = "cuda")]
use candle_core::cuda_backend::cudarc::driver::PinnedHostSlice;
use candle_core::{Result, Shape, Tensor};

/// Inputs that may be on their way at once: those of the step at work and of the next.
const ON_THEIR_WAY: usize = 2;

/// Page-locked memory of the processor, from and to which a card copies by itself, after what it was given before: the
/// inputs of a step while the step before is computed, and a number of a step while the rest of it is.
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "the twin needs no locked memory"))]
pub struct Copies {
    card: Card,
    inputs: [Option<Locked>; ON_THEIR_WAY],
    /// Which of the inputs is used next.
    next: usize,
    number: Option<Locked>,
}

/// Memory that a card copies from or to.
enum Locked {
    #[cfg(feature = "cuda")]
    Cuda(PinnedHostSlice<f32>),
    /// The twin's copies are done at once.
    #[cfg(feature = "twin")]
    Twin(f32),
    #[allow(dead_code, reason = "without the features")]
    None,
}

impl Copies {
    /// For copies to and from `card`.
    pub fn new(card: Card) -> Copies {
        Copies { card, inputs: [None, None], next: 0, number: None }
    }

    /// A tensor of `values` on the card, which will be there for whatever is launched later. Waits only where the
    /// memory of the inputs before the last ones is still being read.
    ///
    /// # Errors
    /// If there are not as many values as the shape says, or not enough memory.
    pub fn upload(&mut self, values: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
        let memory = self.copied(&values)?;
        self.card.tensor(memory, shape)
    }

    fn copied(&mut self, values: &[f32]) -> std::result::Result<Memory<f32>, Error> {
        match &self.card {
            #[cfg(feature = "cuda")]
            Card::Cuda(device) => {
                let failed = |e: &dyn std::fmt::Display| failed("copying a batch to the card", e);
                let stream = device.cuda_stream();
                self.next = (self.next + 1) % ON_THEIR_WAY;
                let Some(place) = self.inputs.get_mut(self.next) else { return self.card.upload(values) };
                let fits = matches!(place, Some(Locked::Cuda(memory)) if memory.len() == values.len());
                if !fits {
                    // SAFETY: all of it is written below before it is read; any bits are a number.
                    #[allow(unsafe_code)]
                    let memory = unsafe { stream.context().alloc_pinned::<f32>(values.len()) };
                    *place = Some(Locked::Cuda(memory.map_err(|e| failed(&e))?));
                }
                let Some(Locked::Cuda(from)) = place else { return self.card.upload(values) };
                from.as_mut_slice().map_err(|e| failed(&e))?.copy_from_slice(values);
                // SAFETY: all of it is written below, in the order of the stream.
                #[allow(unsafe_code)]
                let mut to = unsafe { device.alloc::<f32>(values.len()) }.map_err(|e| failed(&e))?;
                stream.memcpy_htod(from, &mut to).map_err(|e| failed(&e))?;
                Ok(Memory::Cuda(to))
            }
            #[allow(unreachable_patterns, reason = "a program without cards has no other")]
            card => card.upload(values),
        }
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
                let failed = |e: &dyn std::fmt::Display| failed("copying a number from the card", e);
                let stream = device.cuda_stream();
                let mut to = match self.number.take() {
                    Some(Locked::Cuda(memory)) => memory,
                    // Not write-combined, which the processor reads slowly. SAFETY: written before it is read.
                    #[allow(unsafe_code)]
                    _ => unsafe { stream.context().alloc_pinned_with_flags::<f32>(1, 0) }
                        .map_err(|e| failed(&e))?,
                };
                {
                    let (storage, layout) = number.storage_and_layout();
                    let candle_core::Storage::Cuda(storage) = &*storage else {
                        candle_core::bail!("the number is on another device")
                    };
                    let start = layout.start_offset();
                    let view = storage.as_cuda_slice::<f32>()?.slice(start..start + 1);
                    stream.memcpy_dtoh(&view, &mut to).map_err(|e| failed(&e))?;
                }
                self.number = Some(Locked::Cuda(to));
            }
            #[cfg(feature = "twin")]
            Card::Twin(_) => self.number = number.to_vec1::<f32>()?.first().copied().map(Locked::Twin),
            Card::None(never) => (*never).none(),
        }
        Ok(())
    }

    /// The number that was asked for, once it is there: what was launched after the question is not waited for.
    ///
    /// # Errors
    /// If none was asked for, or the card failed meanwhile.
    pub fn answer(&mut self) -> std::result::Result<f32, Error> {
        match self.number.as_ref() {
            #[cfg(feature = "cuda")]
            Some(Locked::Cuda(memory)) => {
                let values = memory.as_slice().map_err(|e| failed("waiting for a number", &e))?;
                values.first().copied().ok_or_else(unasked)
            }
            #[cfg(feature = "twin")]
            Some(Locked::Twin(value)) => Ok(*value),
            _ => Err(unasked()),
        }
    }
}

fn unasked() -> Error {
    Error::Card { what: "waiting for a number".to_owned(), reason: "none was asked for".to_owned() }
}

#[cfg(all(test, feature = "twin"))]
mod tests {
    use super::*;
    use crate::Twin;

    #[test]
    fn numbers_come_when_asked_for() {
        let mut copies = Copies::new(Card::Twin(Twin::default()));
        assert_eq!(
            copies.answer().unwrap_err().to_string(),
            "the card failed at waiting for a number: none was asked for"
        );
        let tensor = copies.upload(vec![1.0, 2.0], (1, 2)).unwrap();
        assert_eq!(tensor.to_vec2::<f32>().unwrap(), [[1.0, 2.0]]);
        assert!(copies.upload(vec![1.0], (1, 2)).is_err());
        copies.ask(&tensor.narrow(1, 1, 1).unwrap()).unwrap();
        assert_eq!(copies.answer().unwrap(), 2.0);
        assert!(copies.ask(&tensor).is_err(), "two are not one number");
    }
}
