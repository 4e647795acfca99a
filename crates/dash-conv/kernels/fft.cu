// Depthwise convolution over taps by Fourier transforms of pieces of maps in shared memory: the maps of two samples are
// one complex map, since a convolution with real weights keeps them apart. A job is a piece of such a pair.
#include "transform.h"

// Jobs of a channel, and their pair of samples and piece.
DEVICE int jobs_of(int batch, const int* cut) { return (batch + 1) / 2 * pieces_of(cut); }

// The first sample of a job, or `batch` where there is no such job.
DEVICE int sample_of(int job, int batch, const int* cut) {
    int sample = 2 * (job / pieces_of(cut));
    return sample < batch ? sample : batch;
}

// Maps of a sample and of the next, of [B, C, plane]; null beyond the last.
DEVICE const float* map_of(const float* x, int sample, int batch, int channels, int channel, long long plane) {
    return sample < batch ? x + ((long long)sample * channels + channel) * plane : 0;
}

// The spectrum of a job's piece.
DEVICE void load_job(Complex* map, Transform t, const float* x, const int* cut, int job, int batch, int channels,
                     int channel, int rows, int columns) {
    int sample = sample_of(job, batch, cut);
    Piece piece = piece_of(cut, job % pieces_of(cut));
    long long plane = (long long)rows * columns;
    load_two(map, t, map_of(x, sample, batch, channels, channel, plane),
             map_of(x, sample + 1, batch, channels, channel, plane), piece, columns);
    forward(map, t, live_rows(piece.rows));
}

// spectra[channel] = that of the channel's taps, each at the opposite of its offset, divided by the size of the
// transform. Grid: groups of blockDim.y channels.
LARGE_KERNEL fft_kernels(const float* weights, const int* offsets, const int* tap_indices, const float* row_twiddles,
                   const float* column_twiddles, float* spectra, int channels, int n_rows, int n_columns, int taps,
                   int all_taps) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    int channel = blockIdx.x * blockDim.y + threadIdx.y, size = n_rows * n_columns;
    Complex* map = own_map(t);
    clear(map, t);
    for (int tap = threadIdx.x; channel < channels && tap < taps; tap += blockDim.x) {
        int r = wrapped(-offsets[2 * tap], n_rows), c = wrapped(-offsets[2 * tap + 1], n_columns);
        map[r * n_columns + c].re = weights[(long long)channel * all_taps + tap_indices[tap]] / (float)size;
    }
    BARRIER();
    forward(map, t, n_rows);
    Complex* to = reinterpret_cast<Complex*>(spectra) + (long long)channel * size;
    for (int i = threadIdx.x; channel < channels && i < size; i += blockDim.x) to[i] = map[i];
}
EMULATED_WITH_BARRIERS(fft_kernels)

// y = conv(x), from pieces of x as `from_cut` says to those of y as `to_cut` says; with conjugate spectra, the transposed
// map. `biased` says whether there is a bias. Grid: for each group of blockDim.y jobs, the channels.
LARGE_KERNEL fft_convolve(const float* x, const float* spectra, const float* bias, const int* from_cut, const int* to_cut,
                    const float* row_twiddles, const float* column_twiddles, float* y, int batch, int channels, int rows,
                    int columns, int to_rows, int to_columns, int n_rows, int n_columns, int conjugated, int biased) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    int channel = blockIdx.x % channels, job = blockIdx.x / channels * blockDim.y + threadIdx.y;
    int size = n_rows * n_columns;
    Complex* map = own_map(t);
    load_job(map, t, x, from_cut, job, batch, channels, channel, rows, columns);
    const Complex* kernel = reinterpret_cast<const Complex*>(spectra) + (long long)channel * size;
    for (int i = threadIdx.x; i < size; i += blockDim.x)
        map[i] = times(map[i], conjugated ? conjugate(kernel[i]) : kernel[i]);
    BARRIER();
    Piece piece = piece_of(to_cut, job % pieces_of(to_cut));
    back(map, t, piece.rows.at, live_rows(piece.rows) - piece.rows.at);
    float b = biased ? bias[channel] : 0.0f;
    int sample = sample_of(job, batch, to_cut);
    long long plane = (long long)to_rows * to_columns;
    store_two(map, t, const_cast<float*>(map_of(y, sample, batch, channels, channel, plane)),
              const_cast<float*>(map_of(y, sample + 1, batch, channels, channel, plane)), piece, to_columns, b, b);
}
EMULATED_WITH_BARRIERS(fft_convolve)

// sums[part][channel][t] = the gradient of a tap's weight over the jobs of a part: the real part of the correlation of
// both pairs. Grid: channels x parts. Each map of a block has two more: behind the maps in shared memory if they are
// `resident`, else in scratch.
LARGE_KERNEL fft_weight_sums(const float* x, const float* grad, const int* x_cut, const int* grad_cut, const int* offsets,
                       const float* row_twiddles, const float* column_twiddles, float* scratch, double* sums, int batch,
                       int channels, int rows, int columns, int out_rows, int out_columns, int n_rows, int n_columns,
                       int taps, int parts, int resident) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    int channel = blockIdx.x, part = blockIdx.y, size = n_rows * n_columns;
    int jobs = jobs_of(batch, x_cut), per_part = (jobs + parts - 1) / parts;
    int first = part * per_part, end = first + per_part < jobs ? first + per_part : jobs;
    Complex* map = own_map(t);
    Complex* others = resident ? SHARED(Complex) + blockDim.y * size
                               : reinterpret_cast<Complex*>(scratch) +
                                     ((long long)part * channels + channel) * 2 * blockDim.y * size;
    Complex* spectrum = others + 2 * threadIdx.y * size;
    Complex* total = spectrum + size;
    for (int i = threadIdx.x; i < size; i += blockDim.x) total[i] = complex(0.0f, 0.0f);
    BARRIER();
    for (int group = first; group < end; group += blockDim.y) {
        // Beyond the last job there are no maps.
        int own = group + (int)threadIdx.y, job = own < end ? own : jobs;
        load_job(map, t, x, x_cut, job, batch, channels, channel, rows, columns);
        // Every thread reads what it wrote itself.
        for (int i = threadIdx.x; i < size; i += blockDim.x) spectrum[i] = map[i];
        BARRIER();
        load_job(map, t, grad, grad_cut, job, batch, channels, channel, out_rows, out_columns);
        for (int i = threadIdx.x; i < size; i += blockDim.x)
            total[i] = plus(total[i], times(spectrum[i], conjugate(map[i])));
        BARRIER();
    }
    for (int i = threadIdx.x; threadIdx.y == 0 && i < size; i += blockDim.x) {
        Complex sum = others[size + i];
        for (int y = 1; y < (int)blockDim.y; y++) sum = plus(sum, others[(2 * y + 1) * size + i]);
        map[i] = sum;
    }
    BARRIER();
    back(map, t, 0, n_rows);
    for (int tap = threadIdx.x; threadIdx.y == 0 && tap < taps; tap += blockDim.x) {
        int r = wrapped(offsets[2 * tap], n_rows), c = wrapped(offsets[2 * tap + 1], n_columns);
        sums[((long long)part * channels + channel) * taps + tap] = (double)map[r * n_columns + c].re / size;
    }
}
EMULATED_WITH_BARRIERS(fft_weight_sums)
