//! Copies to a GPU asynchronously, through pinned memory.

use crate::{
    error::{Error, failed},
    memory::Element,
};
use candle_core::cuda_backend::{
    CudaDevice,
    cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtrMut, PinnedHostSlice, result},
};
use std::sync::{Mutex, PoisonError};

/// Pinned memory, which a GPU reads or writes until an event. The bindings record events only to order several streams, and
/// there is one stream here.
pub(crate) struct PinnedBuffer {
    memory: PinnedHostSlice<u8>,
    done: CudaEvent,
}

impl PinnedBuffer {
    /// Allocates pinned memory. With `write_combined` the CPU should only write it: reading is slow.
    pub(crate) fn new(
        stream: &CudaStream,
        bytes: usize,
        write_combined: bool,
    ) -> Result<PinnedBuffer, Error> {
        let failed = |e: &dyn std::fmt::Display| failed("allocating pinned memory", e);
        let context = stream.context();
        let done = context.new_event(None).map_err(|e| failed(&e))?;
        // SAFETY: any bytes are valid, and they are written before they are read.
        #[allow(unsafe_code)]
        let memory = unsafe {
            match write_combined {
                true => context.alloc_pinned::<u8>(bytes),
                false => context.alloc_pinned_with_flags::<u8>(bytes, 0),
            }
        };
        Ok(PinnedBuffer { memory: memory.map_err(|e| failed(&e))?, done })
    }

    /// Waits until the GPU is done with the memory, and returns it.
    pub(crate) fn bytes(&mut self) -> Result<&mut [u8], Error> {
        let failed = |e: &dyn std::fmt::Display| failed("waiting for a copy", e);
        self.done.synchronize().map_err(|e| failed(&e))?;
        self.memory.as_mut_slice().map_err(|e| failed(&e))
    }

    /// Starts `copy`, which uses the memory, and records when the GPU is done with it.
    pub(crate) fn used(
        &mut self,
        stream: &CudaStream,
        what: &str,
        copy: impl FnOnce(&mut [u8]) -> Result<(), result::DriverError>,
    ) -> Result<(), Error> {
        let copied = self.memory.as_mut_slice().and_then(copy);
        let recorded = self.done.record(stream);
        copied.and(recorded).map_err(|e| failed(what, &e))
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // The memory must outlive the copy; if the GPU has failed, no copy is left.
        let _ = self.done.synchronize();
    }
}

/// Buffers for reuse, of all devices.
static IDLE: Mutex<Vec<PinnedBuffer>> = Mutex::new(Vec::new());

/// The smallest pinned buffer, in bytes.
const LEAST: usize = 4096;

/// Copies `values` to the GPU, for everything that is launched later; the caller may change them at once.
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

/// A buffer of at least `size` bytes, a power of two, that no GPU reads: an idle one, or a new one.
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
