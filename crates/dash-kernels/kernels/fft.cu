// Depthwise convolution over taps by Fourier transforms of whole maps in shared memory.
//
// The maps of two samples are the real and the imaginary part of one complex map: a convolution with real weights
// keeps them apart. Transforms are done in place, forward by decimation in frequency, whose results are in the order
// of reversed digits, and backward by decimation in time, which takes them in that order: products of spectra need no
// other (Gentleman and Sande 1966; Cooley and Tukey 1965).
#include "dash.h"

struct Complex { float re, im; };

DEVICE Complex times(Complex a, Complex b) {
    Complex c = {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
    return c;
}

DEVICE Complex conjugate(Complex a) {
    Complex c = {a.re, -a.im};
    return c;
}

// waves[i] = exp(-2 pi sqrt(-1) i / n).
DEVICE Complex wave(const float* waves, int i) {
    Complex w = {waves[2 * i], waves[2 * i + 1]};
    return w;
}

// One stage over lines of n numbers, `step` apart, which begin `line` apart: blocks of `length` are divided by R.
template <int R>
DEVICE void stage(Complex* map, const float* waves, int n, int length, int step, int lines, int line, bool back) {
    int part = length / R, turn = n / length, per_line = n / R;
    for (int i = threadIdx.x; i < lines * per_line; i += blockDim.x) {
        int at = i % per_line, j = at % part;
        Complex* x = map + (i / per_line) * line + (at / part * length + j) * step;
        Complex a[R], b[R];
        UNROLL
        for (int k = 0; k < R; k++) {
            a[k] = x[k * part * step];
            if (back) a[k] = times(a[k], conjugate(wave(waves, k * j * turn)));
        }
        UNROLL
        for (int q = 0; q < R; q++) {
            Complex sum = a[0];
        UNROLL
            for (int k = 1; k < R; k++) {
                Complex w = wave(waves, q * k % R * per_line);
                Complex term = times(a[k], back ? conjugate(w) : w);
                sum.re += term.re;
                sum.im += term.im;
            }
            b[q] = back ? sum : times(sum, wave(waves, q * j * turn));
        }
        UNROLL
        for (int q = 0; q < R; q++) x[q * part * step] = b[q];
    }
    BARRIER();
}

DEVICE void stage_of(int radix, Complex* map, const float* waves, int n, int length, int step, int lines, int line,
                     bool back) {
    if (radix == 4) stage<4>(map, waves, n, length, step, lines, line, back);
    else if (radix == 2) stage<2>(map, waves, n, length, step, lines, line, back);
    else if (radix == 3) stage<3>(map, waves, n, length, step, lines, line, back);
    else stage<5>(map, waves, n, length, step, lines, line, back);
}

// The largest radix of a length of factors 2, 3 and 5.
DEVICE int radix_of(int length) { return length % 4 == 0 ? 4 : length % 2 == 0 ? 2 : length % 3 == 0 ? 3 : 5; }

// Lines of n numbers, forward.
DEVICE void lines_forward(Complex* map, const float* waves, int n, int step, int lines, int line) {
    for (int length = n; length > 1;) {
        int radix = radix_of(length);
        stage_of(radix, map, waves, n, length, step, lines, line, false);
        length /= radix;
    }
}

// The same backward, without the division by n: the stages in the opposite order.
DEVICE void lines_back(Complex* map, const float* waves, int n, int step, int lines, int line) {
    for (int length = 1; length < n;) {
        int rest = n;
        while (rest / radix_of(rest) != length) rest /= radix_of(rest);
        stage_of(radix_of(rest), map, waves, n, rest, step, lines, line, true);
        length = rest;
    }
}

// Transforms of a map of n_rows x n_columns, of which the first `live` rows are not zero.
DEVICE void forward(Complex* map, const float* row_waves, const float* column_waves, int n_rows, int n_columns,
                    int live) {
    lines_forward(map, column_waves, n_columns, 1, live, n_columns);
    lines_forward(map, row_waves, n_rows, n_columns, n_columns, 1);
}

DEVICE void back(Complex* map, const float* row_waves, const float* column_waves, int n_rows, int n_columns) {
    lines_back(map, row_waves, n_rows, n_columns, n_columns, 1);
    lines_back(map, column_waves, n_columns, 1, n_rows, n_columns);
}

// Two samples of [B, C, rows, columns], spread by strides, as one complex map; the second may not exist.
DEVICE void load_pair(Complex* map, const float* x, int sample, int batch, int channels, int channel, int rows,
                      int columns, int stride_rows, int stride_columns, int n_rows, int n_columns) {
    const float* one = x + ((long long)sample * channels + channel) * rows * columns;
    const float* two = one + (long long)channels * rows * columns;
    bool both = sample + 1 < batch;
    for (int i = threadIdx.x; i < n_rows * n_columns; i += blockDim.x) {
        int r = i / n_columns, c = i % n_columns;
        Complex value = {0.0f, 0.0f};
        if (r % stride_rows == 0 && c % stride_columns == 0) {
            r /= stride_rows;
            c /= stride_columns;
            if (r < rows && c < columns) {
                value.re = one[r * columns + c];
                if (both) value.im = two[r * columns + c];
            }
        }
        map[i] = value;
    }
    BARRIER();
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
        int r = offsets[2 * t] > 0 ? n_rows - offsets[2 * t] : -offsets[2 * t];
        int c = offsets[2 * t + 1] > 0 ? n_columns - offsets[2 * t + 1] : -offsets[2 * t + 1];
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
    int live = (rows - 1) * in_stride_rows + 1;
    forward(map, row_waves, column_waves, n_rows, n_columns, live < n_rows ? live : n_rows);
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
        int r = offsets[2 * t] < 0 ? n_rows + offsets[2 * t] : offsets[2 * t];
        int c = offsets[2 * t + 1] < 0 ? n_columns + offsets[2 * t + 1] : offsets[2 * t + 1];
        sums[((long long)part * channels + channel) * taps + t] = (double)map[r * n_columns + c].re / size;
    }
}
TWIN_WITH_BARRIERS(fft_weight_sums)
