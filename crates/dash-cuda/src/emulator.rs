//! The GPU emulator: kernels as C++ on the CPU, for tests.

use crate::{
    Kernel,
    gpu::{DeviceSlice, Element, Error, KernelArg, LaunchDims},
};
use std::ffi::c_void;

/// A kernel's emulator: grid, block, bytes of shared memory, whether threads run in descending order, and the arguments'
/// addresses; 0 if all is well.
pub(crate) type Function = unsafe extern "C" fn(*const u32, *const u32, u32, i32, *mut *mut c_void) -> i32;

/// A GPU that is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Emulator {
    /// Whether the threads of a block run in descending order between barriers. A kernel whose results depend on it
    /// lacks a barrier.
    pub descending: bool,
}

/// Numbers before and after memory that no kernel may touch.
const GUARD: usize = 64;

/// Memory of the emulator: numbers between two guards.
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

    /// The numbers.
    ///
    /// # Errors
    /// If a kernel has written outside of them.
    pub(crate) fn values(&self) -> Result<Vec<T>, Error> {
        if self.intact() {
            return Ok(self.numbers[GUARD..GUARD + self.len()].to_vec());
        }
        let reason = "a kernel has written outside of its memory".to_owned();
        Err(Error::Gpu { what: "the end".to_owned(), reason })
    }

    pub(crate) fn read(&self) -> DeviceSlice<'_, T> {
        let address = self.numbers[GUARD..].as_ptr() as u64;
        // SAFETY: the numbers are borrowed for as long as the value lives.
        #[allow(unsafe_code)]
        unsafe {
            DeviceSlice::new(address, self.len())
        }
    }

    pub(crate) fn write(&mut self) -> KernelArg {
        KernelArg::Address(self.numbers[GUARD..].as_mut_ptr() as u64)
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
    /// As there.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn launch(
        &self,
        kernel: &Kernel,
        launch: LaunchDims,
        arguments: &[KernelArg],
    ) -> Result<(), Error> {
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
            (kernel.emulator)(
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

/// The first GPU, for the test of this name. Without one, standard error says once that the test is skipped there; a
/// program that was built for none says nothing.
///
/// # Panics
/// If there is a GPU that cannot be opened: the test would seem to have passed there.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables, reason = "there is nothing to say"))]
pub fn gpu_for_test(test: &str) -> Option<crate::Gpu> {
    #[cfg(feature = "cuda")]
    {
        use std::{
            collections::HashSet,
            io::Write,
            sync::{Mutex, OnceLock},
        };
        static GPU: OnceLock<Option<candle_core::Device>> = OnceLock::new();
        static TOLD: Mutex<Option<HashSet<String>>> = Mutex::new(None);
        let opened = GPU.get_or_init(|| match crate::open(0) {
            Ok(device) => Some(device),
            Err(error) if error.to_string().contains("NO_DEVICE") => None,
            Err(error) => panic!("the GPU cannot be opened: {error}"),
        });
        if let Some(device) = opened {
            return crate::Gpu::of(device);
        }
        let mut told = TOLD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.get_or_insert_default().insert(test.to_owned()) {
            // Not by a macro: what passing tests print is not shown.
            let _ = writeln!(std::io::stderr(), "skipped on a GPU: {test}");
        }
    }
    None
}
