//! Copies to a GPU that nobody waits for, through pinned memory of the CPU.

use crate::gpu::{Element, Error, failed};
use candle_core::cuda_backend::{
    CudaDevice,
    cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtrMut, PinnedHostSlice, result},
};
use std::sync::{Mutex, PoisonError};

/// Pinned memory, which a GPU reads or writes by itself until an event is reached. The bindings record events of
/// their own only where they order several streams, which they do not here.
pub(crate) struct PinnedBuffer {
    memory: PinnedHostSlice<u8>,
    reached: CudaEvent,
}

impl PinnedBuffer {
    /// Memory of some bytes. `combined` is for what the CPU only writes: reading is slow.
    pub(crate) fn new(stream: &CudaStream, bytes: usize, combined: bool) -> Result<PinnedBuffer, Error> {
        let failed = |e: &dyn std::fmt::Display| failed("locking memory of the CPU", e);
        let context = stream.context();
        let reached = context.new_event(None).map_err(|e| failed(&e))?;
        // SAFETY: bytes have no wrong values, and nobody reads them before they were written.
        #[allow(unsafe_code)]
        let memory = unsafe {
            match combined {
                true => context.alloc_pinned::<u8>(bytes),
                false => context.alloc_pinned_with_flags::<u8>(bytes, 0),
            }
        };
        Ok(PinnedBuffer { memory: memory.map_err(|e| failed(&e))?, reached })
    }

    /// The memory, once the GPU is done with it.
    pub(crate) fn bytes(&mut self) -> Result<&mut [u8], Error> {
        let failed = |e: &dyn std::fmt::Display| failed("waiting for a copy", e);
        self.reached.synchronize().map_err(|e| failed(&e))?;
        self.memory.as_mut_slice().map_err(|e| failed(&e))
    }

    /// Has `copy` use the memory, and remembers when the GPU will be done.
    pub(crate) fn used(
        &mut self,
        stream: &CudaStream,
        what: &str,
        copy: impl FnOnce(&mut [u8]) -> Result<(), result::DriverError>,
    ) -> Result<(), Error> {
        let copied = self.memory.as_mut_slice().and_then(copy);
        let recorded = self.reached.record(stream);
        copied.and(recorded).map_err(|e| failed(what, &e))
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // The memory must outlive the copy; if the GPU has failed, there is none any more.
        let _ = self.reached.synchronize();
    }
}

/// Memory that is used again, of all devices.
static IDLE: Mutex<Vec<PinnedBuffer>> = Mutex::new(Vec::new());

/// The least memory worth locking, in bytes.
const LEAST: usize = 4096;

/// A copy of `values` in the GPU's memory, for whatever is launched later; the values may change at once.
pub(crate) fn upload<T: Element>(device: &CudaDevice, values: &[T]) -> Result<CudaSlice<T>, Error> {
    const WHAT: &str = "copying to the GPU";
    let stream = device.cuda_stream();
    // SAFETY: all of it is written below, in the order of the stream; any bits are a number.
    #[allow(unsafe_code)]
    let mut to = unsafe { device.alloc::<T>(values.len()) }.map_err(|e| failed(WHAT, &e))?;
    let size = size_of_val(values);
    if size == 0 {
        return Ok(to);
    }
    let mut locked = idle(&stream, size)?;
    // SAFETY: plain numbers, looked at as bytes while they are borrowed.
    #[allow(unsafe_code)]
    let from = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size) };
    locked.used(&stream, WHAT, |bytes| {
        let bytes = &mut bytes[..size];
        bytes.copy_from_slice(from);
        let (address, _recorded) = to.device_ptr_mut(&stream);
        // SAFETY: there is room for `size` bytes at the address, and `bytes` stay until the event behind the copy.
        #[allow(unsafe_code)]
        unsafe {
            result::memcpy_htod_async(address, bytes, stream.cu_stream())
        }
    })?;
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(locked);
    Ok(to)
}

/// Memory of `size` bytes, rounded up to a power of two, that no GPU reads any more; new if there is none.
fn idle(stream: &CudaStream, size: usize) -> Result<PinnedBuffer, Error> {
    let size = size.max(LEAST).next_power_of_two();
    {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |locked: &PinnedBuffer| {
            locked.memory.len() == size
                && locked.memory.context() == stream.context()
                && locked.reached.try_is_complete().unwrap_or(false)
        };
        if let Some(place) = idle.iter().position(fits) {
            return Ok(idle.swap_remove(place));
        }
    }
    PinnedBuffer::new(stream, size, true)
}
