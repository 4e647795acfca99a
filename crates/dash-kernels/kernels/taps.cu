// Depthwise convolution over a list of taps: y[b][c][p][q] = bias[c] + sum over taps t of
// weights[c][place[t]] * x[b][c][p * stride + offset[t]], zero outside of the map.
//
// A block takes one channel and some samples: threadIdx.x goes over positions, threadIdx.y over samples. Weights and
// offsets are brought to shared memory first, and so are maps if they are `staged`: large ones are read where they are.
#include "dash.h"

// Brings the taps to shared memory; the maps begin behind what is returned.
DEVICE float* load_taps(float* shared, const float* weights, const int* offsets, const int* places, int taps,
                        int all_taps, int channel) {
    int* to = reinterpret_cast<int*>(shared + taps);
    int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int t = thread; t < taps; t += threads) {
        shared[t] = weights[(long long)channel * all_taps + places[t]];
        to[2 * t] = offsets[2 * t];
        to[2 * t + 1] = offsets[2 * t + 1];
    }
    return shared + 3 * taps;
}

// The map at `from`, in shared memory if it is staged; of no use before a barrier.
DEVICE const float* load_map(float* to, const float* from, int count, int staged) {
    if (!staged) return from;
    for (int i = threadIdx.x; i < count; i += blockDim.x) to[i] = from[i];
    return to;
}

// Grid: channels x groups of blockDim.y samples. Shared: 3 * taps numbers, and a staged map per sample of the block.
KERNEL taps_forward(const float* x, const float* weights, const float* bias, const int* offsets, const int* places,
                    float* y, int batch, int channels, int rows, int columns, int out_rows, int out_columns,
                    int stride_rows, int stride_columns, int taps, int all_taps, int staged) {
    int channel = blockIdx.x, sample = blockIdx.y * blockDim.y + threadIdx.y;
    float* shared = SHARED(float);
    int plane = rows * columns, out_plane = out_rows * out_columns;
    float* own_part = load_taps(shared, weights, offsets, places, taps, all_taps, channel) + threadIdx.y * plane;
    const int* at = reinterpret_cast<const int*>(shared + taps);
    // Beyond the last sample its map is read once more and no result is written.
    bool own = sample < batch;
    long long row_of_maps = (long long)(own ? sample : batch - 1) * channels + channel;
    const float* map = load_map(own_part, x + row_of_maps * plane, plane, staged);
    BARRIER();
    if (!own) return;
    float* to = y + row_of_maps * out_plane;
    for (int i = threadIdx.x; i < out_plane; i += blockDim.x) {
        int row = i / out_columns * stride_rows, column = i % out_columns * stride_columns;
        float sum = 0.0f;
        for (int t = 0; t < taps; t++) {
            int r = row + at[2 * t], c = column + at[2 * t + 1];
            if ((unsigned)r < (unsigned)rows && (unsigned)c < (unsigned)columns) sum += shared[t] * map[r * columns + c];
        }
        to[i] = sum + bias[channel];
    }
}
TWIN_WITH_BARRIERS(taps_forward)

// dx[r][c] = sum over taps of weight * the gradient at the output that saw (r, c) under the tap, if there is one. Grid
// and shared memory as of taps_forward, for maps of the gradient.
KERNEL taps_input_gradient(const float* grad, const float* weights, const int* offsets, const int* places, float* dx,
                           int batch, int channels, int rows, int columns, int out_rows, int out_columns,
                           int stride_rows, int stride_columns, int taps, int all_taps, int staged) {
    int channel = blockIdx.x, sample = blockIdx.y * blockDim.y + threadIdx.y;
    float* shared = SHARED(float);
    int plane = rows * columns, out_plane = out_rows * out_columns;
    float* own_part = load_taps(shared, weights, offsets, places, taps, all_taps, channel) + threadIdx.y * out_plane;
    const int* at = reinterpret_cast<const int*>(shared + taps);
    bool own = sample < batch;
    long long row_of_maps = (long long)(own ? sample : batch - 1) * channels + channel;
    const float* map = load_map(own_part, grad + row_of_maps * out_plane, out_plane, staged);
    BARRIER();
    if (!own) return;
    float* to = dx + row_of_maps * plane;
    for (int i = threadIdx.x; i < plane; i += blockDim.x) {
        int row = i / columns, column = i % columns;
        float sum = 0.0f;
        for (int t = 0; t < taps; t++) {
            int r = row - at[2 * t], c = column - at[2 * t + 1];
            if (r < 0 || c < 0) continue;
            if (stride_rows != 1) {
                if (r % stride_rows != 0) continue;
                r /= stride_rows;
            }
            if (stride_columns != 1) {
                if (c % stride_columns != 0) continue;
                c /= stride_columns;
            }
            if (r < out_rows && c < out_columns) sum += shared[t] * map[r * out_columns + c];
        }
        to[i] = sum;
    }
}
TWIN_WITH_BARRIERS(taps_input_gradient)

// sums[part][channel][t] = the gradient of a tap's weight over the samples of a part. Grid: channels x parts x groups
// of blockDim.x taps, a thread per tap. Shared, if staged: a map of x and one of the gradient.
KERNEL taps_weight_sums(const float* x, const float* grad, const int* offsets, double* sums, int batch, int channels,
                        int rows, int columns, int out_rows, int out_columns, int stride_rows, int stride_columns,
                        int taps, int parts, int staged) {
    int channel = blockIdx.x, part = blockIdx.y, t = blockIdx.z * blockDim.x + threadIdx.x;
    float* shared = SHARED(float);
    int plane = rows * columns, out_plane = out_rows * out_columns;
    int per_part = (batch + parts - 1) / parts;
    int first = part * per_part, end = first + per_part < batch ? first + per_part : batch;
    int row_offset = t < taps ? offsets[2 * t] : 0, column_offset = t < taps ? offsets[2 * t + 1] : 0;
    // The outputs whose column meets data under this tap.
    int from = column_offset < 0 ? (-column_offset + stride_columns - 1) / stride_columns : 0;
    int last = (columns - 1 - column_offset) / stride_columns;
    int to = columns - 1 - column_offset < 0 ? 0 : (last + 1 < out_columns ? last + 1 : out_columns);
    double total = 0.0;
    for (int sample = first; sample < end; sample++) {
        BARRIER();
        long long row_of_maps = (long long)sample * channels + channel;
        const float* map = load_map(shared, x + row_of_maps * plane, plane, staged);
        const float* gradient = load_map(shared + plane, grad + row_of_maps * out_plane, out_plane, staged);
        BARRIER();
        if (t >= taps) continue;
        for (int p = 0; p < out_rows; p++) {
            int r = p * stride_rows + row_offset;
            if ((unsigned)r >= (unsigned)rows) continue;
            float run = 0.0f;
            for (int q = from; q < to; q++)
                run += gradient[p * out_columns + q] * map[r * columns + q * stride_columns + column_offset];
            total += run;
        }
    }
    if (t < taps) sums[((long long)part * channels + channel) * taps + t] = total;
}
TWIN_WITH_BARRIERS(taps_weight_sums)

// dw[channel][place[t]] = the sum over parts, in order; zero for taps that meet no data, whose slot is -1. slots[tap]
// is the t of a tap.
KERNEL taps_weight_gradient(const double* sums, const int* slots, float* dw, int channels, int taps, int all_taps,
                            int parts) {
    long long count = (long long)channels * all_taps;
    for (long long i = THREAD; i < count; i += THREADS) {
        int channel = (int)(i / all_taps), t = slots[i % all_taps];
        double total = 0.0;
        for (int part = 0; t >= 0 && part < parts; part++)
            total += sums[((long long)part * channels + channel) * taps + t];
        dw[i] = (float)total;
    }
}
TWIN(taps_weight_gradient)

// sums[channel][part] of [B, C, n]: the gradient of a bias. Grid: channels x parts; one double per thread.
KERNEL channel_sums(const float* x, double* sums, int batch, int channels, int n, int parts) {
    int channel = blockIdx.x, part = blockIdx.y;
    long long count = (long long)batch * n, per_part = (count + parts - 1) / parts;
    long long first = part * per_part, end = first + per_part < count ? first + per_part : count;
    Sum sum = {0.0, 0.0f, 0};
    for (long long i = first + threadIdx.x; i < end; i += blockDim.x)
        add_to(&sum, x[((i / n) * channels + channel) * (long long)n + i % n]);
    double total = block_sum(sum.total + sum.run, SHARED(double));
    if (threadIdx.x == 0) sums[(long long)channel * parts + part] = total;
}
TWIN_WITH_BARRIERS(channel_sums)

// out[channel] = the sum over parts, in order.
KERNEL channel_totals(const double* sums, float* out, int channels, int parts) {
    for (int channel = THREAD; channel < channels; channel += THREADS) {
        double total = 0.0;
        for (int part = 0; part < parts; part++) total += sums[(long long)channel * parts + part];
        out[channel] = (float)total;
    }
}
TWIN(channel_totals)
