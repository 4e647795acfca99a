// What surrounds the matrix products of dense convolutions.
//
// By transforms: spectra of pieces of maps, two channels as one complex map, ordered by frequency, so that each frequency
// is one product [rows, channels in] x [channels in, channels out] of complex matrices, with a row for each piece of each
// sample. A complex number is two neighbouring columns of a real matrix, and that of a kernel a + ib the block [a, b; -b,
// a]: the product of real matrices is then that of complex ones, with as many multiplications. Of real maps one of two
// opposite frequencies says all: mirrors[2 * bin] is where the frequency is in a transform, and mirrors[2 * bin + 1] its
// opposite.
//
// By columns: the positions that each tap sees, so that a sample is one product [channels out, channels in x taps] x
// [channels in x taps, positions].
#include "transform.h"

struct Pair { Complex one, two; };

// The spectra of two real maps from that of their sum as real and imaginary part, at z and at the opposite frequency.
DEVICE Pair separated(Complex z, Complex opposite) {
    Pair pair = {{0.5f * (z.re + opposite.re), 0.5f * (z.im - opposite.im)},
                 {0.5f * (z.im + opposite.im), 0.5f * (opposite.re - z.re)}};
    return pair;
}

// The other way round, to both places of a transform.
DEVICE void join(Complex* map, int at, int opposite, Complex one, Complex two) {
    map[opposite] = complex(one.re + two.im, two.re - one.im);
    map[at] = complex(one.re - two.im, one.im + two.re);
}

// The neighbouring channels that a block has, two for each of its maps, of which group and of which row or input channel:
// those from `first` on, as long as they are below `per_group`.
struct Place { int other, group, first; };

DEVICE Place place_of(int groups, int per_group) {
    int pairs = (per_group + 1) / 2, blocks = (pairs + blockDim.y - 1) / blockDim.y, rest = blockIdx.x / blocks;
    Place place = {rest / groups, rest % groups, 2 * (int)(blockIdx.x % blocks * blockDim.y)};
    return place;
}

// What goes through memory goes in the order of channels, by all threads of a block: for each bin its maps.
#define ALL_THREADS (blockDim.x * blockDim.y)
#define THREAD_OF_ALL (threadIdx.y * blockDim.x + threadIdx.x)

// A block's map and its first channel of item i of all of its maps' bins.
struct Item { int bin, channel; Complex* map; };

DEVICE Item item_of(int i, Place place, Transform t) {
    int own = i % blockDim.y;
    Item item = {i / (int)blockDim.y, place.first + 2 * own, SHARED(Complex) + own * (t.rows * t.columns)};
    return item;
}

// spectra[bin][group][row][channel of the group] of x, [samples, groups, per_group, rows, columns], cut into pieces; row =
// sample x pieces + piece. Grid: a block per row, group and blockDim.y pairs of channels.
LARGE_KERNEL dense_spectra(const float* x, const int* cut, const int* mirrors, const float* row_twiddles,
                     const float* column_twiddles, float* spectra, int samples, int groups, int per_group, int rows,
                     int columns, int n_rows, int n_columns, int bins) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    Place place = place_of(groups, per_group);
    int pieces = pieces_of(cut), channel = place.first + 2 * threadIdx.y;
    Piece piece = piece_of(cut, place.other % pieces);
    long long plane = (long long)rows * columns;
    const float* one = x + ((long long)(place.other / pieces * groups + place.group) * per_group + channel) * plane;
    load_two(own_map(t), t, channel < per_group ? one : 0, channel + 1 < per_group ? one + plane : 0, piece, columns);
    forward(own_map(t), t, live_rows(piece.rows));
    Complex* to = reinterpret_cast<Complex*>(spectra);
    for (int i = THREAD_OF_ALL; i < bins * (int)blockDim.y; i += ALL_THREADS) {
        Item item = item_of(i, place, t);
        if (item.channel >= per_group) continue;
        Pair pair = separated(item.map[mirrors[2 * item.bin]], item.map[mirrors[2 * item.bin + 1]]);
        long long row = ((long long)item.bin * groups + place.group) * samples * pieces + place.other;
        to[row * per_group + item.channel] = pair.one;
        if (item.channel + 1 < per_group) to[row * per_group + item.channel + 1] = pair.two;
    }
}
EMULATED_WITH_BARRIERS(dense_spectra)

// y, [samples, groups, per_group, rows, columns], from spectra as above: cut into pieces, with a bias per channel if
// `biased`. Blocks as above.
LARGE_KERNEL dense_maps(const float* spectra, const float* bias, const int* cut, const int* mirrors, const float* row_twiddles,
                  const float* column_twiddles, float* y, int samples, int groups, int per_group, int rows, int columns,
                  int n_rows, int n_columns, int bins, int biased) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    Place place = place_of(groups, per_group);
    int pieces = pieces_of(cut);
    const Complex* from = reinterpret_cast<const Complex*>(spectra);
    for (int i = THREAD_OF_ALL; i < bins * (int)blockDim.y; i += ALL_THREADS) {
        Item item = item_of(i, place, t);
        long long row = ((long long)item.bin * groups + place.group) * samples * pieces + place.other;
        Complex zero = complex(0.0f, 0.0f);
        join(item.map, mirrors[2 * item.bin], mirrors[2 * item.bin + 1],
             item.channel < per_group ? from[row * per_group + item.channel] : zero,
             item.channel + 1 < per_group ? from[row * per_group + item.channel + 1] : zero);
    }
    BARRIER();
    Piece piece = piece_of(cut, place.other % pieces);
    back(own_map(t), t, piece.rows.at, live_rows(piece.rows) - piece.rows.at);
    int channel = place.first + 2 * threadIdx.y, of_all = place.group * per_group + channel;
    bool has_one = channel < per_group, has_two = channel + 1 < per_group;
    long long plane = (long long)rows * columns;
    float* one = y + ((long long)(place.other / pieces) * groups * per_group + of_all) * plane;
    store_two(own_map(t), t, has_one ? one : 0, has_two ? one + plane : 0, piece, columns,
              biased && has_one ? bias[of_all] : 0.0f, biased && has_two ? bias[of_all + 1] : 0.0f);
}
EMULATED_WITH_BARRIERS(dense_maps)

// kernels[bin][group], real matrices of 2 per_in x 2 per_out, from weights [groups, per_out, per_in, all taps]: spectra of
// the taps, each at the opposite of its offset, divided by the size of the transform. Grid: a block per input channel of a
// group and blockDim.y pairs of output channels.
LARGE_KERNEL dense_kernels(const float* weights, const int* offsets, const int* tap_indices, const int* mirrors,
                     const float* row_twiddles, const float* column_twiddles, float* kernels, int groups, int per_in,
                     int per_out, int n_rows, int n_columns, int bins, int taps, int all_taps) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    Place place = place_of(groups, per_out);
    int size = n_rows * n_columns, channel = place.first + 2 * threadIdx.y;
    Complex* map = own_map(t);
    clear(map, t);
    const float* one = weights + (((long long)place.group * per_out + channel) * per_in + place.other) * all_taps;
    const float* two = one + (long long)per_in * all_taps;
    for (int tap = threadIdx.x; channel < per_out && tap < taps; tap += blockDim.x) {
        int r = wrapped(-offsets[2 * tap], n_rows), c = wrapped(-offsets[2 * tap + 1], n_columns);
        map[r * n_columns + c] = complex(one[tap_indices[tap]] / (float)size,
                                         channel + 1 < per_out ? two[tap_indices[tap]] / (float)size : 0.0f);
    }
    BARRIER();
    forward(map, t, n_rows);
    for (int i = THREAD_OF_ALL; i < bins * (int)blockDim.y; i += ALL_THREADS) {
        Item item = item_of(i, place, t);
        if (item.channel >= per_out) continue;
        Pair pair = separated(item.map[mirrors[2 * item.bin]], item.map[mirrors[2 * item.bin + 1]]);
        float* row = kernels +
                     (((long long)item.bin * groups + place.group) * 2 * per_in + 2 * place.other) * 2 * per_out +
                     2 * item.channel;
        float* next = row + 2 * per_out;
        row[0] = pair.one.re;
        row[1] = pair.one.im;
        next[0] = -pair.one.im;
        next[1] = pair.one.re;
        if (item.channel + 1 >= per_out) continue;
        row[2] = pair.two.re;
        row[3] = pair.two.im;
        next[2] = -pair.two.im;
        next[3] = pair.two.re;
    }
}
EMULATED_WITH_BARRIERS(dense_kernels)

// The spectrum of x times the conjugate one of the gradient, from the product of real matrices, [re, im] x [re, im].
DEVICE Complex correlation(const float* row, const float* next) {
    return complex(row[0] + next[1], next[0] - row[1]);
}

// dw, [groups, per_out, per_in, all taps], from products[bin][group], real matrices of 2 per_in x 2 per_out: those of
// the spectra of x and of the gradient over rows. slots[tap] is the t of a tap, or -1 if it meets no data. Blocks as of
// dense_kernels.
LARGE_KERNEL dense_taps(const float* products, const int* offsets, const int* slots, const int* mirrors,
                  const float* row_twiddles, const float* column_twiddles, float* dw, int groups, int per_in, int per_out,
                  int n_rows, int n_columns, int bins, int all_taps) {
    Transform t = transform_of(n_rows, n_columns, row_twiddles, column_twiddles);
    Place place = place_of(groups, per_out);
    int size = n_rows * n_columns, channel = place.first + 2 * threadIdx.y;
    for (int i = THREAD_OF_ALL; i < bins * (int)blockDim.y; i += ALL_THREADS) {
        Item item = item_of(i, place, t);
        const float* row = products +
                           (((long long)item.bin * groups + place.group) * 2 * per_in + 2 * place.other) * 2 * per_out +
                           2 * item.channel;
        const float* next = row + 2 * per_out;
        Complex zero = complex(0.0f, 0.0f);
        join(item.map, mirrors[2 * item.bin], mirrors[2 * item.bin + 1],
             item.channel < per_out ? correlation(row, next) : zero,
             item.channel + 1 < per_out ? correlation(row + 2, next + 2) : zero);
    }
    BARRIER();
    Complex* map = own_map(t);
    back(map, t, 0, n_rows);
    float* one = dw + (((long long)place.group * per_out + channel) * per_in + place.other) * all_taps;
    float* two = one + (long long)per_in * all_taps;
    for (int tap = threadIdx.x; channel < per_out && tap < all_taps; tap += blockDim.x) {
        int slot = slots[tap];
        Complex value = complex(0.0f, 0.0f);
        if (slot >= 0) {
            int r = wrapped(offsets[2 * slot], n_rows), c = wrapped(offsets[2 * slot + 1], n_columns);
            value = map[r * n_columns + c];
        }
        one[tap] = value.re / (float)size;
        if (channel + 1 < per_out) two[tap] = value.im / (float)size;
    }
}
EMULATED_WITH_BARRIERS(dense_taps)

// columns[map][t][p]: what tap t sees at output p of each of the maps of x.
KERNEL columns_of_maps(const float* x, const int* offsets, float* columns_out, int maps, int rows, int columns,
                       int out_rows, int out_columns, int stride_rows, int stride_columns, int taps) {
    int out_plane = out_rows * out_columns;
    long long count = (long long)maps * taps * out_plane;
    for (long long i = THREAD; i < count; i += THREADS) {
        int p = (int)(i % out_plane);
        int t = (int)(i / out_plane % taps);
        long long map = i / out_plane / taps;
        int r = p / out_columns * stride_rows + offsets[2 * t];
        int c = p % out_columns * stride_columns + offsets[2 * t + 1];
        bool inside = (unsigned)r < (unsigned)rows && (unsigned)c < (unsigned)columns;
        columns_out[i] = inside ? x[(map * rows + r) * columns + c] : 0.0f;
    }
}
EMULATED(columns_of_maps)

// x[map][r][c]: the sum over taps of what columns_of_maps took from there.
KERNEL maps_of_columns(const float* columns_in, const int* offsets, float* x, int maps, int rows, int columns,
                       int out_rows, int out_columns, int stride_rows, int stride_columns, int taps) {
    int plane = rows * columns, out_plane = out_rows * out_columns;
    long long count = (long long)maps * plane;
    for (long long i = THREAD; i < count; i += THREADS) {
        int row = (int)(i % plane) / columns, column = (int)(i % plane) % columns;
        const float* from = columns_in + i / plane * taps * out_plane;
        float sum = 0.0f;
        for (int t = 0; t < taps; t++) {
            int r = row - offsets[2 * t], c = column - offsets[2 * t + 1];
            if (r < 0 || c < 0 || r % stride_rows != 0 || c % stride_columns != 0) continue;
            r /= stride_rows;
            c /= stride_columns;
            if (r < out_rows && c < out_columns) sum += from[t * out_plane + r * out_columns + c];
        }
        x[i] = sum;
    }
}
EMULATED(maps_of_columns)

// packed[o][i][t] = weights[o][i][place[t]], of `rows` pairs (o, i).
KERNEL packed_taps(const float* weights, const int* tap_indices, float* packed, int rows, int taps, int all_taps) {
    long long count = (long long)rows * taps;
    for (long long i = THREAD; i < count; i += THREADS)
        packed[i] = weights[i / taps * all_taps + tap_indices[i % taps]];
}
EMULATED(packed_taps)

// The other way round; zero for taps that meet no data.
KERNEL unpacked_taps(const float* packed, const int* slots, float* weights, int rows, int taps, int all_taps) {
    long long count = (long long)rows * all_taps;
    for (long long i = THREAD; i < count; i += THREADS) {
        int t = slots[i % all_taps];
        weights[i] = t < 0 ? 0.0f : packed[i / all_taps * taps + t];
    }
}
EMULATED(unpacked_taps)

// y[sample][channel][p] = x[sample][channel][p] + bias[channel].
KERNEL add_bias(const float* x, const float* bias, float* y, long long count, int channels, int plane) {
    for (long long i = THREAD; i < count; i += THREADS) y[i] = x[i] + bias[i / plane % channels];
}
EMULATED(add_bias)

// out[i] = the sum over rows, in order, of x[row][i].
KERNEL sum_rows(const float* x, float* out, int rows, long long columns) {
    for (long long i = THREAD; i < columns; i += THREADS) {
        Sum sum = {0.0, 0.0f, 0};
        for (int row = 0; row < rows; row++) add_to(&sum, x[row * columns + i]);
        out[i] = (float)(sum.total + sum.run);
    }
}
EMULATED(sum_rows)
