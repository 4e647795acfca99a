//! Declares the kernels of convolutions.

use dash_cuda::{In, Int, Long, Out, kernels};

kernels! {
    "mixture" {
        Mix = mix emulated_mix {
            weights: In<f32>, coefficients: In<f32>, begin: In<i32>, candidate: In<i32>, base: In<i32>,
            width: In<i32>, out: Out<f32>, pairs: Int, taps: Int,
        }
        MixGradient = mix_gradient emulated_mix_gradient {
            grad: In<f32>, coefficients: In<f32>, owner: In<i32>, tap: In<i32>, base: In<i32>, width:
            In<i32>, dw: Out<f32>, pairs: Int, taps: Int, entries: Int,
        }
        MixCoefficients = mix_coefficients emulated_mix_coefficients {
            grad: In<f32>, weights: In<f32>, begin: In<i32>, tap: In<i32>, base: In<i32>, width: In<i32>,
            dc: Out<f32>, pairs: Int, taps: Int, candidates: Int,
        }
    }
    "fft" {
        FftKernels = fft_kernels emulated_fft_kernels {
            weights: In<f32>, offsets: In<i32>, tap_indices: In<i32>, row_twiddles: In<f32>,
            column_twiddles: In<f32>, spectra: Out<f32>, channels: Int, n_rows: Int, n_columns: Int, taps:
            Int, all_taps: Int,
        }
        FftConvolve = fft_convolve emulated_fft_convolve {
            x: In<f32>, spectra: In<f32>, bias: In<f32>, from_cut: In<i32>, to_cut: In<i32>, row_twiddles:
            In<f32>, column_twiddles: In<f32>, y: Out<f32>, batch: Int, channels: Int, rows: Int, columns:
            Int, to_rows: Int, to_columns: Int, n_rows: Int, n_columns: Int, conjugated: bool, biased: bool,
        }
        FftWeightSums = fft_weight_sums emulated_fft_weight_sums {
            x: In<f32>, grad: In<f32>, x_cut: In<i32>, grad_cut: In<i32>, offsets: In<i32>, row_twiddles:
            In<f32>, column_twiddles: In<f32>, scratch: Out<f32>, sums: Out<f64>, batch: Int, channels: Int,
            rows: Int, columns: Int, out_rows: Int, out_columns: Int, n_rows: Int, n_columns: Int, taps:
            Int, parts: Int, resident: bool,
        }
    }
    "dense" {
        DenseSpectra = dense_spectra emulated_dense_spectra {
            x: In<f32>, cut: In<i32>, mirrors: In<i32>, row_twiddles: In<f32>, column_twiddles: In<f32>,
            spectra: Out<f32>, samples: Int, groups: Int, per_group: Int, rows: Int, columns: Int, n_rows:
            Int, n_columns: Int, bins: Int,
        }
        DenseMaps = dense_maps emulated_dense_maps {
            spectra: In<f32>, bias: In<f32>, cut: In<i32>, mirrors: In<i32>, row_twiddles: In<f32>,
            column_twiddles: In<f32>, y: Out<f32>, samples: Int, groups: Int, per_group: Int, rows: Int,
            columns: Int, n_rows: Int, n_columns: Int, bins: Int, biased: bool,
        }
        DenseKernels = dense_kernels emulated_dense_kernels {
            weights: In<f32>, offsets: In<i32>, tap_indices: In<i32>, mirrors: In<i32>, row_twiddles:
            In<f32>, column_twiddles: In<f32>, kernels: Out<f32>, groups: Int, per_in: Int, per_out: Int,
            n_rows: Int, n_columns: Int, bins: Int, taps: Int, all_taps: Int,
        }
        DenseTaps = dense_taps emulated_dense_taps {
            products: In<f32>, offsets: In<i32>, slots: In<i32>, mirrors: In<i32>, row_twiddles: In<f32>,
            column_twiddles: In<f32>, dw: Out<f32>, groups: Int, per_in: Int, per_out: Int, n_rows: Int,
            n_columns: Int, bins: Int, all_taps: Int,
        }
        ColumnsOfMaps = columns_of_maps emulated_columns_of_maps {
            x: In<f32>, offsets: In<i32>, columns_out: Out<f32>, maps: Int, rows: Int, columns: Int,
            out_rows: Int, out_columns: Int, stride_rows: Int, stride_columns: Int, taps: Int,
        }
        MapsOfColumns = maps_of_columns emulated_maps_of_columns {
            columns_in: In<f32>, offsets: In<i32>, x: Out<f32>, maps: Int, rows: Int, columns: Int,
            out_rows: Int, out_columns: Int, stride_rows: Int, stride_columns: Int, taps: Int,
        }
        PackedTaps = packed_taps emulated_packed_taps {
            weights: In<f32>, tap_indices: In<i32>, packed: Out<f32>, rows: Int, taps: Int, all_taps: Int,
        }
        UnpackedTaps = unpacked_taps emulated_unpacked_taps {
            packed: In<f32>, slots: In<i32>, weights: Out<f32>, rows: Int, taps: Int, all_taps: Int,
        }
        AddBias = add_bias emulated_add_bias {
            x: In<f32>, bias: In<f32>, y: Out<f32>, count: Long, channels: Int, plane: Int,
        }
        SumRows = sum_rows emulated_sum_rows {
            x: In<f32>, out: Out<f32>, rows: Int, columns: Long,
        }
    }
    "taps" {
        TapsConvolve = taps_convolve emulated_taps_convolve {
            x: In<f32>, weights: In<f32>, bias: In<f32>, offsets: In<i32>, tap_indices: In<i32>, y:
            Out<f32>, batch: Int, channels: Int, rows: Int, columns: Int, out_rows: Int, out_columns: Int,
            stride_rows: Int, stride_columns: Int, spread_rows: Int, spread_columns: Int, taps: Int,
            all_taps: Int, back: bool, turned: bool, above: Int, padded_rows: Int, width: Int, lanes: Int,
            step: Int, staged: bool,
        }
        TapsWeightSums = taps_weight_sums emulated_taps_weight_sums {
            x: In<f32>, grad: In<f32>, offsets: In<i32>, sums: Out<f64>, batch: Int, channels: Int, rows:
            Int, columns: Int, out_rows: Int, out_columns: Int, stride_rows: Int, stride_columns: Int, taps:
            Int, parts: Int, pitch: Int, staged: bool,
        }
        TapsWeightGradient = taps_weight_gradient emulated_taps_weight_gradient {
            sums: In<f64>, slots: In<i32>, dw: Out<f32>, channels: Int, taps: Int, all_taps: Int, parts: Int,
        }
        ChannelSums = channel_sums emulated_channel_sums {
            x: In<f32>, sums: Out<f64>, batch: Int, channels: Int, n: Int, parts: Int,
        }
        ChannelTotals = channel_totals emulated_channel_totals {
            sums: In<f64>, out: Out<f32>, channels: Int, parts: Int,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn declarations_agree_with_the_files_of_the_kernels() {
        let read = |file: &str| {
            let path = format!("{}/kernels/{file}.cu", env!("CARGO_MANIFEST_DIR"));
            std::fs::read_to_string(path).unwrap()
        };
        assert_eq!(dash_cuda::signature_errors(super::KERNELS, read), Vec::<String>::new());
    }
}
