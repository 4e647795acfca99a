//! Reads scalars that a device may still be computing.

use crate::error::Result;
use dash_cuda::AsyncScalar;
use std::sync::{Arc, Mutex, PoisonError};

/// Read-backs whose memory is used again.
pub(super) type IdleScalars = Arc<Mutex<Vec<AsyncScalar>>>;

/// A scalar of a device: ready at once on the CPU, later on a GPU, which computes meanwhile.
pub struct PendingScalar(State);

enum State {
    Ready(f32),
    Recorded(AsyncScalar, IdleScalars),
}

impl PendingScalar {
    pub(super) fn known(value: f32) -> PendingScalar {
        PendingScalar(State::Ready(value))
    }

    pub(super) fn recorded(scalar: AsyncScalar, idle: &IdleScalars) -> PendingScalar {
        PendingScalar(State::Recorded(scalar, idle.clone()))
    }

    /// The value, if it was known at once.
    pub fn ready(&self) -> Option<f32> {
        match self.0 {
            State::Ready(value) => Some(value),
            State::Recorded(..) => None,
        }
    }

    /// The value. What was launched after the read-back is not waited for.
    ///
    /// # Errors
    /// If the device failed meanwhile.
    pub fn wait(self) -> Result<f32> {
        match self.0 {
            State::Ready(value) => Ok(value),
            State::Recorded(mut scalar, idle) => {
                let value = scalar.wait().map_err(candle_core::Error::from)?;
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(scalar);
                Ok(value)
            }
        }
    }
}
