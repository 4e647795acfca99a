//! Defines references to the elements of device buffers.

use std::marker::PhantomData;

/// An element type of device buffers.
pub trait Element: Copy + Send + Sync + 'static + Sealed {
    /// The value of elements that were not written yet, on the emulator.
    const UNWRITTEN: Self;
}

/// Seals [`Element`]: the driver knows the types below.
#[cfg(feature = "cuda")]
pub trait Sealed: candle_core::cuda_backend::cudarc::driver::DeviceRepr {}

/// Seals [`Element`].
#[cfg(not(feature = "cuda"))]
pub trait Sealed {}

macro_rules! numbers {
    ($($number:ty = $unwritten:expr),*) => {$(
        impl Sealed for $number {}
        impl Element for $number {
            const UNWRITTEN: $number = $unwritten;
        }
    )*};
}
numbers!(f32 = f32::NAN, f64 = f64::NAN, i32 = i32::MIN);

/// Elements in a GPU's memory that a kernel may read.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSlice<'a, T> {
    address: u64,
    len: usize,
    lent: PhantomData<&'a T>,
}

impl<'a, T: Element> DeviceSlice<'a, T> {
    /// `len` elements at an address.
    ///
    /// # Safety
    /// They must be in the memory of the GPU that they are used on, for as long as the value may be used.
    #[allow(unsafe_code)]
    pub unsafe fn new(address: u64, len: usize) -> DeviceSlice<'a, T> {
        DeviceSlice { address, len, lent: PhantomData }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

/// Elements in a GPU's memory that a kernel may write.
#[derive(Debug)]
pub struct DeviceSliceMut<'a, T> {
    address: u64,
    len: usize,
    lent: PhantomData<&'a mut T>,
}

impl<'a, T: Element> DeviceSliceMut<'a, T> {
    /// `len` elements at an address.
    ///
    /// # Safety
    /// They must be in the memory of the GPU that they are used on, for as long as the value may be used.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn new(address: u64, len: usize) -> DeviceSliceMut<'a, T> {
        DeviceSliceMut { address, len, lent: PhantomData }
    }

    /// The elements from the `first` on.
    pub fn skip(self, first: usize) -> DeviceSliceMut<'a, T> {
        let first = first.min(self.len);
        let address = self.address + (size_of::<T>() * first) as u64;
        DeviceSliceMut { address, len: self.len - first, lent: PhantomData }
    }

    /// The address of the first element.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}
