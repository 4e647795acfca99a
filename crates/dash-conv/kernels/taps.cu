// Depthwise convolution over a list of taps: y[b][c][p][q] = bias[c] + sum over taps t of
// weights[c][place[t]] * x[b][c][p * stride + offset[t]], zero outside of the map.
#include "dash.h"

// Outputs of a thread, below each other: a tap is read once for all of them.
#define TILE 8

struct alignas(16) Tap { float weight; int row, column, unused; };

// What a convolution over taps goes by. y[p][q] takes x[(p * stride + row of the tap) / spread][...], where this is whole
// and inside: with a spread and opposite taps it is the gradient of the input. Maps in shared memory have rows of zeros
// around them, `padded_rows` with themselves, of which `above` are above, so that rows need no comparison.
struct Convolution {
    const Tap* taps;
    int count, rows, columns, out_rows, out_columns;
    int stride_rows, stride_columns, spread_rows, spread_columns, above;
    // Threads go over `width` columns and `lanes` rows; the outputs of a thread are `step` rows apart.
    int width, lanes, step;
};

template <bool STAGED>
DEVICE void convolve(Convolution c, const float* map, float* y, float bias) {
    int lane = threadIdx.x / c.width, advance = c.step * c.stride_rows / c.spread_rows;
    for (int first = 0; first < c.out_rows; first += c.step * TILE)
        for (int l = lane; l < c.step; l += c.lanes)
            for (int q = threadIdx.x % c.width; q < c.out_columns; q += c.width) {
                int p = first + l, count = (c.out_rows - p + c.step - 1) / c.step;
                if (count <= 0) continue;
                float sum[TILE] = {};
                for (int t = 0; t < c.count; t++) {
                    Tap tap = c.taps[t];
                    int column = q * c.stride_columns + tap.column;
                    if (c.spread_columns != 1) {
                        if (column % c.spread_columns != 0) continue;
                        column /= c.spread_columns;
                    }
                    if ((unsigned)column >= (unsigned)c.columns) continue;
                    // Not negative, because of the rows above.
                    int row = p * c.stride_rows + tap.row + c.spread_rows * c.above;
                    if (c.spread_rows != 1) {
                        if (row % c.spread_rows != 0) continue;
                        row /= c.spread_rows;
                    }
                    if (STAGED) {
                        const float* from = map + row * c.columns + column;
                        if (count >= TILE) {
                            UNROLL
                            for (int k = 0; k < TILE; k++) sum[k] += tap.weight * from[k * advance * c.columns];
                        } else {
                            UNROLL
                            for (int k = 0; k < TILE; k++)
                                if (k < count) sum[k] += tap.weight * from[k * advance * c.columns];
                        }
                    } else {
                        row -= c.above;
                        UNROLL
                        for (int k = 0; k < TILE; k++) {
                            int r = row + k * advance;
                            if ((unsigned)r < (unsigned)c.rows)
                                sum[k] += tap.weight * map[(long long)r * c.columns + column];
                        }
                    }
                }
                UNROLL
                for (int k = 0; k < TILE; k++)
                    if (k < count) y[(long long)(p + k * c.step) * c.out_columns + q] = sum[k] + bias;
            }
}

// y from x, or with `back` the gradient of x, of [out_rows, out_columns] each, from that of y. If maps are `turned`,
// offsets are too. Grid: for each group of blockDim.y samples, the channels. Shared: 4 numbers per tap, and if `staged` a
// map per sample of the block.
LARGE_KERNEL taps_convolve(const float* x, const float* weights, const float* bias, const int* offsets,
                           const int* tap_indices, float* y, int batch, int channels, int rows, int columns, int out_rows,
                           int out_columns, int stride_rows, int stride_columns, int spread_rows, int spread_columns,
                           int taps, int all_taps, int back, int turned, int above, int padded_rows, int width,
                           int lanes, int step, int staged) {
    int channel = blockIdx.x % channels, sample = blockIdx.x / channels * blockDim.y + threadIdx.y;
    Tap* shared = SHARED(Tap);
    int threads = blockDim.x * blockDim.y, thread = threadIdx.y * blockDim.x + threadIdx.x;
    for (int t = thread; t < taps; t += threads) {
        int row = offsets[2 * t + turned], column = offsets[2 * t + 1 - turned];
        Tap tap = {weights[(long long)channel * all_taps + tap_indices[t]], back ? -row : row, back ? -column : column, 0};
        shared[t] = tap;
    }
    // Beyond the last sample its map is read once more and no result is written.
    bool own = sample < batch;
    long long row_of_maps = (long long)(own ? sample : batch - 1) * channels + channel;
    const float* map = x + row_of_maps * rows * columns;
    if (staged) {
        float* to = reinterpret_cast<float*>(shared + taps) + threadIdx.y * padded_rows * columns;
        int before = above * columns, count = rows * columns;
        for (int i = threadIdx.x; i < padded_rows * columns; i += blockDim.x)
            to[i] = i >= before && i < before + count ? map[i - before] : 0.0f;
        map = to;
    }
    BARRIER();
    if (!own || (int)threadIdx.x >= width * lanes) return;
    Convolution c = {shared,      taps,           rows,        columns,        out_rows, out_columns, stride_rows,
                     stride_columns, spread_rows, spread_columns, above,      width,    lanes,       step};
    float* to = y + row_of_maps * out_rows * out_columns;
    float b = back ? 0.0f : bias[channel];
    if (staged) convolve<true>(c, map, to, b);
    else convolve<false>(c, map, to, b);
}
EMULATED_WITH_BARRIERS(taps_convolve)

// Four numbers that are read at once.
struct alignas(16) Four { float v[4]; };

// sums[part][channel][t] = the gradient of a tap's weight over the samples of a part. Grid: channels x parts x groups
// of blockDim.x taps, a thread per tap. Shared, if staged: a map of the gradient, its rows of `pitch` numbers, and one
// of x. All threads read the same numbers of the gradient at a time.
KERNEL taps_weight_sums(const float* x, const float* grad, const int* offsets, double* sums, int batch, int channels,
                        int rows, int columns, int out_rows, int out_columns, int stride_rows, int stride_columns,
                        int taps, int parts, int pitch, int staged) {
    int channel = blockIdx.x, part = blockIdx.y, t = blockIdx.z * blockDim.x + threadIdx.x;
    int plane = rows * columns, out_plane = out_rows * out_columns;
    float *own_grad = SHARED(float), *own_x = own_grad + out_rows * pitch;
    int per_part = (batch + parts - 1) / parts;
    int first = part * per_part, end = first + per_part < batch ? first + per_part : batch;
    int row_offset = t < taps ? offsets[2 * t] : 0, column_offset = t < taps ? offsets[2 * t + 1] : 0;
    // The outputs whose column meets data under this tap, and the whole fours among them.
    int from = column_offset < 0 ? (-column_offset + stride_columns - 1) / stride_columns : 0;
    int last = (columns - 1 - column_offset) / stride_columns;
    int to = columns - 1 - column_offset < 0 ? 0 : (last + 1 < out_columns ? last + 1 : out_columns);
    int from_four = (from + 3) / 4 * 4, to_four = to / 4 * 4;
    if (!staged || from_four >= to_four) from_four = to_four = to;
    double total = 0.0;
    for (int sample = first; sample < end; sample++) {
        BARRIER();
        long long row_of_maps = (long long)sample * channels + channel;
        const float *map = x + row_of_maps * plane, *gradient = grad + row_of_maps * out_plane;
        if (staged) {
            for (int i = threadIdx.x; i < plane; i += blockDim.x) own_x[i] = map[i];
            for (int i = threadIdx.x; i < out_plane; i += blockDim.x)
                own_grad[i / out_columns * pitch + i % out_columns] = gradient[i];
            map = own_x;
            gradient = own_grad;
        }
        BARRIER();
        if (t >= taps) continue;
        for (int p = 0; p < out_rows; p++) {
            int r = p * stride_rows + row_offset;
            if ((unsigned)r >= (unsigned)rows) continue;
            const float *g = gradient + (long long)p * pitch, *of = map + (long long)r * columns + column_offset;
            float run = 0.0f;
            for (int q = from; q < to && q < from_four; q++) run += g[q] * of[q * stride_columns];
            for (int q = from_four; q < to_four; q += 4) {
                Four four = *reinterpret_cast<const Four*>(g + q);
                UNROLL
                for (int k = 0; k < 4; k++) run += four.v[k] * of[(q + k) * stride_columns];
            }
            for (int q = to_four; q < to; q++) run += g[q] * of[q * stride_columns];
            total += run;
        }
    }
    if (t < taps) sums[((long long)part * channels + channel) * taps + t] = total;
}
EMULATED_WITH_BARRIERS(taps_weight_sums)

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
EMULATED(taps_weight_gradient)

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
EMULATED_WITH_BARRIERS(channel_sums)

// out[channel] = the sum over parts, in order.
KERNEL channel_totals(const double* sums, float* out, int channels, int parts) {
    for (int channel = THREAD; channel < channels; channel += THREADS) {
        double total = 0.0;
        for (int part = 0; part < parts; part++) total += sums[(long long)channel * parts + part];
        out[channel] = (float)total;
    }
}
EMULATED(channel_totals)
