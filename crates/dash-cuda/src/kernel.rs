//! Declares CUDA kernels, and checks the arguments of launches.

use crate::{
    error::Error,
    launch::KernelArg,
    memory::{DeviceSlice, DeviceSliceMut},
};
use std::{ffi::c_void, marker::PhantomData};

/// A kernel of the emulator: grid, block, bytes of shared memory, whether threads run in descending order, and the arguments'
/// addresses; returns 0 unless threads missed a barrier.
pub type EmulatedKernel = unsafe extern "C" fn(*const u32, *const u32, u32, i32, *mut *mut c_void) -> i32;

/// A function that runs on a GPU.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// The function.
    pub name: &'static str,
    /// The file, without its extension.
    pub file: &'static str,
    /// Name and type of each parameter, as in the file.
    pub parameters: &'static [(&'static str, &'static str)],
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "it is loaded on GPUs"))]
    pub(crate) ptx: &'static str,
    #[cfg_attr(not(feature = "emulator"), allow(dead_code, reason = "it runs on the emulator"))]
    pub(crate) emulated: Option<EmulatedKernel>,
}

impl Kernel {
    /// A kernel; for [`crate::kernels!`].
    #[doc(hidden)]
    pub const fn new(
        [name, file, ptx]: [&'static str; 3],
        parameters: &'static [(&'static str, &'static str)],
        emulated: Option<EmulatedKernel>,
    ) -> Kernel {
        Kernel { name, file, parameters, ptx, emulated }
    }
}

/// A type of kernel parameters.
pub trait Parameter {
    /// What a launch gives for it.
    type Value<'a>;

    /// The type in the kernel's file.
    const C_TYPE: &'static str;

    /// The argument of a launch.
    ///
    /// # Errors
    /// If the value is more than the type can hold.
    fn argument(value: Self::Value<'_>, kernel: &'static str) -> Result<KernelArg, Error>;
}

/// Elements that a kernel reads.
pub struct In<T>(PhantomData<T>);

/// Elements that a kernel writes.
pub struct Out<T>(PhantomData<T>);

/// A size that a kernel takes as `int`.
pub struct Int;

/// A size that a kernel takes as `long long`.
pub struct Long;

macro_rules! slices {
    ($($element:ty: $input:literal $output:literal,)*) => {
        $(
            impl Parameter for In<$element> {
                type Value<'a> = DeviceSlice<'a, $element>;
                const C_TYPE: &'static str = $input;

                fn argument(value: DeviceSlice<'_, $element>, _: &'static str) -> Result<KernelArg, Error> {
                    Ok(KernelArg::Address(value.address()))
                }
            }

            impl Parameter for Out<$element> {
                type Value<'a> = DeviceSliceMut<'a, $element>;
                const C_TYPE: &'static str = $output;

                fn argument(value: DeviceSliceMut<'_, $element>, _: &'static str) -> Result<KernelArg, Error> {
                    Ok(KernelArg::Address(value.address()))
                }
            }
        )*
    };
}

slices! {
    f32: "const float*" "float*",
    f64: "const double*" "double*",
    i32: "const int*" "int*",
}

impl Parameter for Int {
    type Value<'a> = usize;
    const C_TYPE: &'static str = "int";

    fn argument(value: usize, kernel: &'static str) -> Result<KernelArg, Error> {
        i32::try_from(value).map(KernelArg::I32).map_err(|_| too_large(kernel, value))
    }
}

impl Parameter for Long {
    type Value<'a> = usize;
    const C_TYPE: &'static str = "long long";

    fn argument(value: usize, kernel: &'static str) -> Result<KernelArg, Error> {
        i64::try_from(value).map(KernelArg::I64).map_err(|_| too_large(kernel, value))
    }
}

fn too_large(operation: &'static str, value: usize) -> Error {
    Error::Operands { operation, what: format!("{value} is more than a kernel can count") }
}

impl Parameter for bool {
    type Value<'a> = bool;
    const C_TYPE: &'static str = "int";

    fn argument(value: bool, _: &'static str) -> Result<KernelArg, Error> {
        Ok(KernelArg::I32(i32::from(value)))
    }
}

/// The bits of a word.
impl Parameter for u32 {
    type Value<'a> = u32;
    const C_TYPE: &'static str = "int";

    fn argument(value: u32, _: &'static str) -> Result<KernelArg, Error> {
        Ok(KernelArg::I32(value.cast_signed()))
    }
}

impl Parameter for f64 {
    type Value<'a> = f64;
    const C_TYPE: &'static str = "double";

    fn argument(value: f64, _: &'static str) -> Result<KernelArg, Error> {
        Ok(KernelArg::F64(value))
    }
}

/// Declares the kernels of a crate, which its build script compiles with `dash_cuda_build`.
///
/// Each kernel is a struct with a field per parameter, in the order of the file, and a method `launch`: what a launch gives is
/// checked by the compiler, and [`signature_errors`] compares the declaration with the file. `KERNELS` lists all of them.
///
/// ```ignore
/// dash_cuda::kernels! {
///     "elementwise" {
///         Add = add emulated_add { a: In<f32>, b: In<f32>, out: Out<f32>, count: Long }
///     }
/// }
/// unsafe { Add { a, b, out, count }.launch(gpu, LaunchDims::over(count))? }
/// ```
#[macro_export]
macro_rules! kernels {
    ($($file:literal {
        $($name:ident = $function:ident $emulated:ident { $($field:ident: $kind:ty),* $(,)? })*
    })*) => {
        #[cfg(emulated)]
        #[allow(unsafe_code, reason = "the functions are compiled from the kernels' files")]
        unsafe extern "C" {
            $($(
                fn $emulated(
                    grid: *const u32,
                    block: *const u32,
                    shared: u32,
                    descending: i32,
                    arguments: *mut *mut std::ffi::c_void,
                ) -> i32;
            )*)*
        }

        $($(
            pub(crate) struct $name<'a> {
                $(pub(crate) $field: <$kind as $crate::Parameter>::Value<'a>,)*
            }

            impl $name<'_> {
                const KERNEL: $crate::Kernel = $crate::Kernel::new(
                    [
                        stringify!($function),
                        $file,
                        include_str!(concat!(env!("OUT_DIR"), "/", $file, ".ptx")),
                    ],
                    &[$((stringify!($field), <$kind as $crate::Parameter>::C_TYPE)),*],
                    $crate::emulated_kernel!($emulated),
                );

                /// Launches the kernel after those before it.
                ///
                /// # Safety
                /// Memory must be as large as the kernel reads and writes.
                ///
                /// # Errors
                /// If a size is more than the kernel can count, no GPU has such blocks, or this one refuses.
                #[allow(unsafe_code, reason = "the promise is the caller's")]
                pub(crate) unsafe fn launch(
                    self,
                    gpu: &$crate::Gpu,
                    dims: $crate::LaunchDims,
                ) -> std::result::Result<(), $crate::Error> {
                    let arguments =
                        [$(<$kind as $crate::Parameter>::argument(self.$field, stringify!($function))?),*];
                    // SAFETY: the arguments are the kernel's; sizes of memory are the caller's promise.
                    unsafe { gpu.launch(&Self::KERNEL, dims, &arguments) }
                }
            }
        )*)*

        /// All kernels of this crate.
        #[cfg(test)]
        pub(crate) const KERNELS: &[$crate::Kernel] = &[$($($name::KERNEL,)*)*];
    };
}

/// The emulated function of a kernel; for [`kernels!`].
#[cfg(emulated)]
#[doc(hidden)]
#[macro_export]
macro_rules! emulated_kernel {
    ($emulated:ident) => {
        Some($emulated as $crate::EmulatedKernel)
    };
}

/// The emulated function of a kernel; for [`kernels!`].
#[cfg(not(emulated))]
#[doc(hidden)]
#[macro_export]
macro_rules! emulated_kernel {
    ($emulated:ident) => {
        None
    };
}

/// How declared kernels differ from their files; for tests. `read` returns the text of `name.cu`.
///
/// Parameters are compared by count, order, name and type; kernels of these files that are not declared are found, too.
pub fn signature_errors(kernels: &[Kernel], read: impl Fn(&str) -> String) -> Vec<String> {
    let mut errors = Vec::new();
    let files: std::collections::BTreeSet<&str> = kernels.iter().map(|kernel| kernel.file).collect();
    for file in files {
        let written = signatures(&read(file));
        let declared = kernels.iter().filter(|kernel| kernel.file == file);
        for kernel in declared.clone() {
            let parameters: Vec<(String, String)> =
                kernel.parameters.iter().map(|&(name, kind)| (kind.to_owned(), name.to_owned())).collect();
            match written.iter().find(|(name, _)| name == kernel.name) {
                None => errors.push(format!("{file}.cu has no kernel {}", kernel.name)),
                Some((_, found)) if *found != parameters => {
                    errors.push(format!("{}: declared {parameters:?}, {file}.cu has {found:?}", kernel.name));
                }
                Some(_) => {}
            }
        }
        for (name, _) in &written {
            if !declared.clone().any(|kernel| kernel.name == name) {
                errors.push(format!("the kernel {name} of {file}.cu is not declared"));
            }
        }
    }
    errors
}

/// A kernel's name, and type and name of each parameter.
type Signature = (String, Vec<(String, String)>);

/// The kernels of a file.
fn signatures(text: &str) -> Vec<Signature> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for part in code.split("KERNEL ").skip(1) {
        let Some((name, rest)) = part.split_once('(') else { continue };
        let Some((parameters, _)) = rest.split_once(')') else { continue };
        let parameter = |text: &str| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let (name, kind) = words.split_last()?;
            Some((kind.join(" "), (*name).to_owned()))
        };
        found.push((name.trim().to_owned(), parameters.split(',').filter_map(parameter).collect()));
    }
    found
}
