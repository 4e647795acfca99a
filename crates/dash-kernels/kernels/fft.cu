// Depthwise convolution over taps by Fourier transforms of whole maps in shared memory: the maps of two samples are one
// complex map, since a convolution with real weights keeps them apart.
#include "transform.h"

// Two samples of [B, C, rows, columns], spread by strides, as one complex map; the second may not exist.
DEVICE void load_pair(Complex* map, const float* x, int sample, int batch, int channels, int channel, int rows,
                      int columns, int stride_rows, int stride_columns, int n_rows, int n_columns) {
    const float* one = x + ((long long)sample * channels + channel) * rows * columns;
    const float* two = sample + 1 < batch ? one + (long long)channels * rows * columns : 0;
    load_two(map, one, two, rows, columns, stride_rows, stride_columns, n_rows, n_columns);
}

// spectra[channel] = that of the channel's taps, each at the opposite of its offset, divided by the size of the
// transform. A block per channel. Shared: one complex map.
KERNEL fft_kernels(const float* weights, const int* offsets, const int* places, const float* row_waves,
                   const float* column_waves, float* spectra, int n_rows, int n_columns, int taps, int all_taps) {
    int channel = blockIdx.x, size = n_rows * n_columns;
    Complex* map = SHARED(Complex);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        Complex zero = {0.0f, 0.0f};
        map[i] = zero;
    }
    BARRIER();
    for (int t = threadIdx.x; t < taps; t += blockDim.x) {
        int r = wrapped(-offsets[2 * t], n_rows), c = wrapped(-offsets[2 * t + 1], n_columns);
        map[r * n_columns + c].re = weights[(long long)channel * all_taps + places[t]] / (float)size;
    }
    BARRIER();
    forward(map, row_waves, column_waves, n_rows, n_columns, n_rows);
    Complex* to = reinterpret_cast<Complex*>(spectra) + (long long)channel * size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) to[i] = map[i];
}
TWIN_WITH_BARRIERS(fft_kernels)

// y = conv(x) for maps of x spread by in strides, at positions of out strides; with conjugate spectra, the transposed
// map. `biased` says whether there is a bias. Grid: channels x pairs of samples. Shared: one complex map.
KERNEL fft_convolve(const float* x, const float* spectra, const float* bias, const float* row_waves,
                    const float* column_waves, float* y, int batch, int channels, int rows, int columns,
                    int in_stride_rows, int in_stride_columns, int out_rows, int out_columns, int out_stride_rows,
                    int out_stride_columns, int n_rows, int n_columns, int conjugated, int biased) {
    int channel = blockIdx.x, sample = 2 * blockIdx.y, size = n_rows * n_columns;
    Complex* map = SHARED(Complex);
    load_pair(map, x, sample, batch, channels, channel, rows, columns, in_stride_rows, in_stride_columns, n_rows,
              n_columns);
    forward(map, row_waves, column_waves, n_rows, n_columns, live_rows(rows, in_stride_rows, n_rows));
    const Complex* kernel = reinterpret_cast<const Complex*>(spectra) + (long long)channel * size;
    for (int i = threadIdx.x; i < size; i += blockDim.x)
        map[i] = times(map[i], conjugated ? conjugate(kernel[i]) : kernel[i]);
    BARRIER();
    back(map, row_waves, column_waves, n_rows, n_columns);
    float b = biased ? bias[channel] : 0.0f;
    float* one = y + ((long long)sample * channels + channel) * out_rows * out_columns;
    float* two = one + (long long)channels * out_rows * out_columns;
    for (int i = threadIdx.x; i < out_rows * out_columns; i += blockDim.x) {
        int r = i / out_columns * out_stride_rows, c = i % out_columns * out_stride_columns;
        one[i] = map[r * n_columns + c].re + b;
        if (sample + 1 < batch) two[i] = map[r * n_columns + c].im + b;
    }
}
TWIN_WITH_BARRIERS(fft_convolve)

// sums[part][channel][t] = the gradient of a tap's weight over the samples of a part: the real part of the correlation
// of both pairs. scratch has two complex maps per block. Grid: channels x parts. Shared: one complex map.
KERNEL fft_weight_sums(const float* x, const float* grad, const int* offsets, const float* row_waves,
                       const float* column_waves, float* scratch, double* sums, int batch, int channels, int rows,
                       int columns, int out_rows, int out_columns, int stride_rows, int stride_columns, int n_rows,
                       int n_columns, int taps, int parts) {
    int channel = blockIdx.x, part = blockIdx.y, size = n_rows * n_columns;
    int pairs = (batch + 1) / 2, per_part = (pairs + parts - 1) / parts;
    int first = part * per_part, end = first + per_part < pairs ? first + per_part : pairs;
    Complex* map = SHARED(Complex);
    Complex* spectrum = reinterpret_cast<Complex*>(scratch) + 2 * ((long long)part * channels + channel) * size;
    Complex* total = spectrum + size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        Complex zero = {0.0f, 0.0f};
        total[i] = zero;
    }
    for (int pair = first; pair < end; pair++) {
        load_pair(map, x, 2 * pair, batch, channels, channel, rows, columns, 1, 1, n_rows, n_columns);
        forward(map, row_waves, column_waves, n_rows, n_columns, rows);
        // Every thread reads what it wrote itself.
        for (int i = threadIdx.x; i < size; i += blockDim.x) spectrum[i] = map[i];
        BARRIER();
        load_pair(map, grad, 2 * pair, batch, channels, channel, out_rows, out_columns, stride_rows, stride_columns,
                  n_rows, n_columns);
        forward(map, row_waves, column_waves, n_rows, n_columns, rows);
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            Complex product = times(spectrum[i], conjugate(map[i]));
            total[i].re += product.re;
            total[i].im += product.im;
        }
        BARRIER();
    }
    for (int i = threadIdx.x; i < size; i += blockDim.x) map[i] = total[i];
    BARRIER();
    back(map, row_waves, column_waves, n_rows, n_columns);
    for (int t = threadIdx.x; t < taps; t += blockDim.x) {
        int r = wrapped(offsets[2 * t], n_rows), c = wrapped(offsets[2 * t + 1], n_columns);
        sums[((long long)part * channels + channel) * taps + t] = (double)map[r * n_columns + c].re / size;
    }
}
TWIN_WITH_BARRIERS(fft_weight_sums)
