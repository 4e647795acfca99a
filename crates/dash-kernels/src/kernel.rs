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
    #[cfg(feature = "twin")]
    pub(crate) twin: crate::twin::Function,
}

macro_rules! kernels {
    ($($file:literal: $($constant:ident = $name:ident $twin:ident,)+)*) => {
        #[cfg(feature = "twin")]
        #[allow(unsafe_code)]
        unsafe extern "C" {
            $($(
                fn $twin(
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
                #[cfg(feature = "twin")]
                twin: $twin,
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
        ADD = add twin_add,
    "pool":
        MEAN_FORWARD = mean_forward twin_mean_forward,
        MEAN_BACKWARD = mean_backward twin_mean_backward,
    "norm":
        NORM_SUMS = norm_sums twin_norm_sums,
        NORM_MOMENTS = norm_moments twin_norm_moments,
        NORM_GIVEN = norm_given twin_norm_given,
        NORM_APPLY = norm_apply twin_norm_apply,
        NORM_GRADIENT_SUMS = norm_gradient_sums twin_norm_gradient_sums,
        NORM_GRADIENT_FACTORS = norm_gradient_factors twin_norm_gradient_factors,
        NORM_GRADIENT = norm_gradient twin_norm_gradient,
    "dropout":
        DROPOUT = dropout twin_dropout,
    "loss":
        CLASS_LOSS = class_loss twin_class_loss,
        LABEL_LOSS = label_loss twin_label_loss,
        FIELD_LOSS = field_loss twin_field_loss,
        LOSS_TOTAL = loss_total twin_loss_total,
        SCALE_BY = scale_by twin_scale_by,
    "optimiser":
        SQUARE_SUMS = square_sums twin_square_sums,
        CLIP_SCALE = clip_scale twin_clip_scale,
        DESCEND = descend twin_descend,
    "mixture":
        MIX = mix twin_mix,
        MIX_GRADIENT = mix_gradient twin_mix_gradient,
        MIX_COEFFICIENTS = mix_coefficients twin_mix_coefficients,
        MIXING_COEFFICIENTS = mixing_coefficients twin_mixing_coefficients,
        MIXING_GRADIENT = mixing_gradient twin_mixing_gradient,
        TREATED_GRADIENT = treated_gradient twin_treated_gradient,
    "fft":
        FFT_KERNELS = fft_kernels twin_fft_kernels,
        FFT_CONVOLVE = fft_convolve twin_fft_convolve,
        FFT_WEIGHT_SUMS = fft_weight_sums twin_fft_weight_sums,
    "dense":
        DENSE_SPECTRA = dense_spectra twin_dense_spectra,
        DENSE_MAPS = dense_maps twin_dense_maps,
        DENSE_KERNELS = dense_kernels twin_dense_kernels,
        DENSE_TAPS = dense_taps twin_dense_taps,
        COLUMNS_OF_MAPS = columns_of_maps twin_columns_of_maps,
        MAPS_OF_COLUMNS = maps_of_columns twin_maps_of_columns,
        PACKED_TAPS = packed_taps twin_packed_taps,
        UNPACKED_TAPS = unpacked_taps twin_unpacked_taps,
        ADD_BIAS = add_bias twin_add_bias,
        SUM_ROWS = sum_rows twin_sum_rows,
    "taps":
        TAPS_CONVOLVE = taps_convolve twin_taps_convolve,
        TAPS_WEIGHT_SUMS = taps_weight_sums twin_taps_weight_sums,
        TAPS_WEIGHT_GRADIENT = taps_weight_gradient twin_taps_weight_gradient,
        CHANNEL_SUMS = channel_sums twin_channel_sums,
        CHANNEL_TOTALS = channel_totals twin_channel_totals,
}
