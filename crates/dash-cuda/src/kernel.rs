//! The kernels by name.

/// A kernel.
#[derive(Clone, Copy)]
pub struct Kernel {
    /// The function.
    pub name: &'static str,
    /// The file without its ending.
    pub file: &'static str,
    /// The compiled file.
    #[cfg(feature = "cuda")]
    pub(crate) ptx: &'static str,
    #[cfg(feature = "emulator")]
    pub(crate) emulator: crate::emulator::Function,
}

macro_rules! kernels {
    ($($file:literal: $($constant:ident = $name:ident $emulator:ident,)+)*) => {
        #[cfg(feature = "emulator")]
        #[allow(unsafe_code)]
        unsafe extern "C" {
            $($(
                fn $emulator(
                    grid: *const u32,
                    block: *const u32,
                    shared: u32,
                    descending: i32,
                    arguments: *mut *mut std::ffi::c_void,
                ) -> i32;
            )+)*
        }

        $($(
            pub(crate) const $constant: Kernel = Kernel {
                name: stringify!($name),
                file: $file,
                #[cfg(feature = "cuda")]
                ptx: include_str!(concat!(env!("OUT_DIR"), "/", $file, ".ptx")),
                #[cfg(feature = "emulator")]
                emulator: $emulator,
            };
        )+)*

        impl Kernel {
            /// All of them.
            pub const ALL: &[Kernel] = &[$($($constant,)+)*];
        }
    };
}

kernels! {
    "elementwise":
        ADD = add emulated_add,
    "pool":
        MEAN_FORWARD = mean_forward emulated_mean_forward,
        MEAN_BACKWARD = mean_backward emulated_mean_backward,
    "norm":
        NORM_SUMS = norm_sums emulated_norm_sums,
        NORM_MOMENTS = norm_moments emulated_norm_moments,
        NORM_GIVEN = norm_given emulated_norm_given,
        NORM_APPLY = norm_apply emulated_norm_apply,
        NORM_GRADIENT_SUMS = norm_gradient_sums emulated_norm_gradient_sums,
        NORM_GRADIENT_FACTORS = norm_gradient_factors emulated_norm_gradient_factors,
        NORM_GRADIENT = norm_gradient emulated_norm_gradient,
    "dropout":
        DROPOUT = dropout emulated_dropout,
    "loss":
        CLASS_LOSS = class_loss emulated_class_loss,
        LABEL_LOSS = label_loss emulated_label_loss,
        FIELD_LOSS = field_loss emulated_field_loss,
        LOSS_TOTAL = loss_total emulated_loss_total,
        SCALE_BY = scale_by emulated_scale_by,
    "optimiser":
        SQUARE_SUMS = square_sums emulated_square_sums,
        CLIP_SCALE = clip_scale emulated_clip_scale,
        DESCEND = descend emulated_descend,
    "mixture":
        MIX = mix emulated_mix,
        MIX_GRADIENT = mix_gradient emulated_mix_gradient,
        MIX_COEFFICIENTS = mix_coefficients emulated_mix_coefficients,
        MIXING_COEFFICIENTS = mixing_coefficients emulated_mixing_coefficients,
        MIXING_GRADIENT = mixing_gradient emulated_mixing_gradient,
        TREATED_GRADIENT = treated_gradient emulated_treated_gradient,
    "fft":
        FFT_KERNELS = fft_kernels emulated_fft_kernels,
        FFT_CONVOLVE = fft_convolve emulated_fft_convolve,
        FFT_WEIGHT_SUMS = fft_weight_sums emulated_fft_weight_sums,
    "dense":
        DENSE_SPECTRA = dense_spectra emulated_dense_spectra,
        DENSE_MAPS = dense_maps emulated_dense_maps,
        DENSE_KERNELS = dense_kernels emulated_dense_kernels,
        DENSE_TAPS = dense_taps emulated_dense_taps,
        COLUMNS_OF_MAPS = columns_of_maps emulated_columns_of_maps,
        MAPS_OF_COLUMNS = maps_of_columns emulated_maps_of_columns,
        PACKED_TAPS = packed_taps emulated_packed_taps,
        UNPACKED_TAPS = unpacked_taps emulated_unpacked_taps,
        ADD_BIAS = add_bias emulated_add_bias,
        SUM_ROWS = sum_rows emulated_sum_rows,
    "taps":
        TAPS_CONVOLVE = taps_convolve emulated_taps_convolve,
        TAPS_WEIGHT_SUMS = taps_weight_sums emulated_taps_weight_sums,
        TAPS_WEIGHT_GRADIENT = taps_weight_gradient emulated_taps_weight_gradient,
        CHANNEL_SUMS = channel_sums emulated_channel_sums,
        CHANNEL_TOTALS = channel_totals emulated_channel_totals,
}
