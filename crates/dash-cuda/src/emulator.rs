//! Runs kernels that were compiled as C++ on the CPU, for tests.

use crate::{
    error::Error,
    kernel::Kernel,
    launch::{KernelArg, LaunchDims},
    memory::{DeviceSlice, DeviceSliceMut, Element},
};
use std::ffi::c_void;

/// A GPU that the CPU emulates.
#[derive(Clone, Copy, Debug, Default)]
pub struct Emulator {
    /// Whether the threads of a block run in descending order between barriers. A kernel whose results depend on it
    /// lacks a barrier.
    pub descending: bool,
}

/// Elements before and after each buffer that no kernel may touch.
const GUARD: usize = 64;

/// Memory of the emulator: elements between two guard bands.
#[derive(Clone, Debug)]
pub struct GuardedBuffer<T> {
    numbers: Vec<T>,
}

impl<T: Element> GuardedBuffer<T> {
    pub(crate) fn new(values: &[T]) -> GuardedBuffer<T> {
        let guard = [T::UNWRITTEN; GUARD];
        GuardedBuffer { numbers: [&guard, values, &guard].concat() }
    }

    fn len(&self) -> usize {
        self.numbers.len() - 2 * GUARD
    }

    /// The elements.
    ///
    /// # Errors
    /// If a kernel has written outside of them.
    pub(crate) fn values(&self) -> Result<Vec<T>, Error> {
        if self.intact() {
            return Ok(self.numbers[GUARD..GUARD + self.len()].to_vec());
        }
        let reason = "a kernel has written outside of its memory".to_owned();
        Err(Error::Gpu { what: "a buffer".to_owned(), reason })
    }

    pub(crate) fn read(&self) -> DeviceSlice<'_, T> {
        let address = self.numbers[GUARD..].as_ptr() as u64;
        // SAFETY: the numbers are borrowed for as long as the value lives.
        #[allow(unsafe_code)]
        unsafe {
            DeviceSlice::new(address, self.len())
        }
    }

    pub(crate) fn write(&mut self) -> DeviceSliceMut<'_, T> {
        let (address, len) = (self.numbers[GUARD..].as_mut_ptr() as u64, self.len());
        // SAFETY: the elements are borrowed for as long as the value lives.
        #[allow(unsafe_code)]
        unsafe {
            DeviceSliceMut::new(address, len)
        }
    }

    fn intact(&self) -> bool {
        let bytes = |values: &[T]| -> Vec<u8> {
            let size = std::mem::size_of_val(values);
            // SAFETY: plain numbers, looked at as bytes while they are borrowed.
            #[allow(unsafe_code)]
            unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size) }.to_vec()
        };
        let guard = bytes(&[T::UNWRITTEN; GUARD]);
        bytes(&self.numbers[..GUARD]) == guard && bytes(&self.numbers[GUARD + self.len()..]) == guard
    }
}

impl Emulator {
    /// See [`crate::Gpu::launch`].
    ///
    /// # Safety
    /// See there.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn launch(
        &self,
        kernel: &Kernel,
        launch: LaunchDims,
        arguments: &[KernelArg],
    ) -> Result<(), Error> {
        let Some(emulated) = kernel.emulated else {
            let reason = "it was not compiled for the emulator".to_owned();
            return Err(Error::Gpu { what: kernel.name.to_owned(), reason });
        };
        let mut arguments = arguments.to_vec();
        let mut addresses: Vec<*mut c_void> = (arguments.iter_mut())
            .map(|argument| match argument {
                KernelArg::Address(value) => std::ptr::from_mut(value).cast(),
                KernelArg::I32(value) => std::ptr::from_mut(value).cast(),
                KernelArg::I64(value) => std::ptr::from_mut(value).cast(),
                KernelArg::F64(value) => std::ptr::from_mut(value).cast(),
            })
            .collect();
        // SAFETY: by the caller's promise; grid and block have three numbers each.
        let met = unsafe {
            emulated(
                launch.grid.as_ptr(),
                launch.block.as_ptr(),
                launch.shared,
                i32::from(self.descending),
                addresses.as_mut_ptr(),
            )
        };
        if met == 0 {
            return Ok(());
        }
        let reason = "some threads of a block missed a barrier that others waited at".to_owned();
        Err(Error::Gpu { what: kernel.name.to_owned(), reason })
    }
}
