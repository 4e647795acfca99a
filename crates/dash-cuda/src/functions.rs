//! Opens GPUs, and loads kernels on them.

use crate::{
    error::{Error, failed},
    kernel::Kernel,
    launch::SHARED,
};
use candle_core::{
    Device, Result,
    cuda_backend::{
        CudaDevice, DeviceId,
        cudarc::driver::{
            CudaFunction, CudaModule,
            result::{device, mem_pool},
            sys::{CUfunction_attribute, CUmemPool_attribute, CUmemoryPool},
        },
    },
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Opens the GPU with this number, with one stream, on which everything runs in order without events, and with a memory pool
/// that keeps freed memory.
pub(crate) fn open(number: usize) -> Result<Device> {
    let gpu = Device::new_cuda_with_stream(number)?;
    let device = gpu.as_cuda_device()?;
    // SAFETY: there is one stream. Copies through `transfer::PinnedBuffer` have events of their own.
    #[allow(unsafe_code)]
    unsafe {
        device.disable_event_tracking();
    }
    if let Some(pool) = pool(device) {
        let mut kept = u64::MAX;
        let most = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the pool is the device's own, and this attribute is a u64. (By default unused memory is returned
        // to the system at every synchronisation.)
        // If this fails, everything is correct and slower.
        #[allow(unsafe_code)]
        let _ = unsafe { mem_pool::set_attribute(pool, most, std::ptr::from_mut(&mut kept).cast()) };
    }
    Ok(gpu)
}

/// The memory pool of a device, if it has one.
fn pool(gpu: &CudaDevice) -> Option<CUmemoryPool> {
    let ordinal = i32::try_from(gpu.cuda_stream().context().ordinal()).ok()?;
    // SAFETY: the device is the one that `get` returned.
    #[allow(unsafe_code)]
    unsafe { device::get_default_mem_pool(device::get(ordinal).ok()?) }.ok()
}

/// Free bytes of a GPU's memory, including what the pool keeps.
pub(crate) fn free_memory(gpu: &CudaDevice) -> Option<u64> {
    let stream = gpu.cuda_stream();
    // Freed memory becomes available when everything before it is done.
    stream.synchronize().ok()?;
    if let Some(pool) = pool(gpu) {
        // SAFETY: the pool is the device's own.
        #[allow(unsafe_code)]
        unsafe { mem_pool::trim_to(pool, 0) }.ok()?;
    }
    let (free, _) = stream.context().mem_get_info().ok()?;
    u64::try_from(free).ok()
}

/// A loaded kernel, and the dynamic shared memory that it may have.
struct Loaded {
    function: CudaFunction,
    shared: u32,
}

/// The loaded modules and kernels, by device, address of the PTX, and name.
#[derive(Default)]
struct Store {
    modules: HashMap<(DeviceId, usize), Arc<CudaModule>>,
    functions: HashMap<(DeviceId, usize, &'static str), Loaded>,
}

static STORE: Mutex<Option<Store>> = Mutex::new(None);

/// Loads a kernel on a GPU unless it is loaded, and allows it `shared` bytes of dynamic shared memory.
pub(crate) fn function(
    gpu: &CudaDevice,
    kernel: &Kernel,
    shared: u32,
) -> std::result::Result<CudaFunction, Error> {
    let failed = |e: &dyn std::fmt::Display| failed(kernel.name, e);
    let mut store = STORE.lock().unwrap_or_else(PoisonError::into_inner);
    let Store { modules, functions } = store.get_or_insert_default();
    // Kernels of several crates may have files of one name.
    let (id, ptx) = (gpu.id(), kernel.ptx.as_ptr() as usize);
    let loaded = match functions.entry((id, ptx, kernel.name)) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            let module = match modules.get(&(id, ptx)) {
                Some(module) => module.clone(),
                None => {
                    let context = gpu.cuda_stream().context().clone();
                    let module = context.load_module(kernel.ptx.into()).map_err(|e| failed(&e))?;
                    modules.insert((id, ptx), module.clone());
                    module
                }
            };
            let function = module.load_function(kernel.name).map_err(|e| failed(&e))?;
            entry.insert(Loaded { function, shared: SHARED as u32 })
        }
    };
    if shared > loaded.shared {
        let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
        loaded.function.set_attribute(most, bytes).map_err(|e| failed(&e))?;
        loaded.shared = shared;
    }
    Ok(loaded.function.clone())
}
