// What surrounds the matrix products of dense convolutions.
//
// By transforms: spectra of whole maps, two channels as one complex map, ordered by frequency, so that each frequency is
// one product [samples, channels in] x [channels in, channels out] of complex matrices. A complex number is two
// neighbouring columns of a real matrix, and that of a kernel a + ib the block [a, b; -b, a]: the product of real matrices
// is then that of complex ones, with as many multiplications. Of real maps one of two opposite frequencies says all:
// mirrors[2 * bin] is where the frequency is in a transform, and mirrors[2 * bin + 1] its opposite.
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
    Complex z = {one.re - two.im, one.im + two.re}, mirrored = {one.re + two.im, two.re - one.im};
    map[opposite] = mirrored;
    map[at] = z;
}

// Which two neighbouring channels, of which group and of which sample or input channel, a block has.
struct Place { int other, group, channel; bool two; };

DEVICE Place place_of(int groups, int per_group) {
    int pairs = (per_group + 1) / 2, rest = blockIdx.x / pairs;
    Place place = {rest / groups, rest % groups, 2 * (int)(blockIdx.x % pairs), false};
    place.two = place.channel + 1 < per_group;
    return place;
}

// spectra[bin][group][sample][channel of the group] of x, [samples, groups, per_group, rows, columns], spread by strides.
// A block per sample and pair of channels. Shared: one complex map.
KERNEL dense_spectra(const float* x, const int* mirrors, const float* row_waves, const float* column_waves,
                     float* spectra, int samples, int groups, int per_group, int rows, int columns, int stride_rows,
                     int stride_columns, int n_rows, int n_columns, int bins) {
    Place place = place_of(groups, per_group);
    Complex* map = SHARED(Complex);
    int plane = rows * columns;
    const float* one = x + (((long long)place.other * groups + place.group) * per_group + place.channel) * plane;
    load_two(map, one, place.two ? one + plane : 0, rows, columns, stride_rows, stride_columns, n_rows, n_columns);
    forward(map, row_waves, column_waves, n_rows, n_columns, live_rows(rows, stride_rows, n_rows));
    Complex* to = reinterpret_cast<Complex*>(spectra);
    for (int bin = threadIdx.x; bin < bins; bin += blockDim.x) {
        Pair pair = separated(map[mirrors[2 * bin]], map[mirrors[2 * bin + 1]]);
        long long at = (((long long)bin * groups + place.group) * samples + place.other) * per_group + place.channel;
        to[at] = pair.one;
        if (place.two) to[at + 1] = pair.two;
    }
}
TWIN_WITH_BARRIERS(dense_spectra)

// y, [samples, groups, per_group, rows, columns], from spectra as above: at positions of strides, with a bias per channel
// if `biased`. A block per sample and pair of channels. Shared: one complex map.
KERNEL dense_maps(const float* spectra, const float* bias, const int* mirrors, const float* row_waves,
                  const float* column_waves, float* y, int samples, int groups, int per_group, int rows, int columns,
                  int stride_rows, int stride_columns, int n_rows, int n_columns, int bins, int biased) {
    Place place = place_of(groups, per_group);
    Complex* map = SHARED(Complex);
    const Complex* from = reinterpret_cast<const Complex*>(spectra);
    for (int bin = threadIdx.x; bin < bins; bin += blockDim.x) {
        long long at = (((long long)bin * groups + place.group) * samples + place.other) * per_group + place.channel;
        Complex zero = {0.0f, 0.0f};
        join(map, mirrors[2 * bin], mirrors[2 * bin + 1], from[at], place.two ? from[at + 1] : zero);
    }
    BARRIER();
    back(map, row_waves, column_waves, n_rows, n_columns);
    int plane = rows * columns, channel = place.group * per_group + place.channel;
    float b_one = biased ? bias[channel] : 0.0f, b_two = biased && place.two ? bias[channel + 1] : 0.0f;
    float* one = y + ((long long)place.other * groups * per_group + channel) * plane;
    for (int i = threadIdx.x; i < plane; i += blockDim.x) {
        Complex value = map[i / columns * stride_rows * n_columns + i % columns * stride_columns];
        one[i] = value.re + b_one;
        if (place.two) one[plane + i] = value.im + b_two;
    }
}
TWIN_WITH_BARRIERS(dense_maps)

// kernels[bin][group], real matrices of 2 per_in x 2 per_out, from weights [groups, per_out, per_in, all taps]: spectra of
// the taps, each at the opposite of its offset, divided by the size of the transform. A block per input channel of a group
// and pair of output channels. Shared: one complex map.
KERNEL dense_kernels(const float* weights, const int* offsets, const int* places, const int* mirrors,
                     const float* row_waves, const float* column_waves, float* kernels, int groups, int per_in,
                     int per_out, int n_rows, int n_columns, int bins, int taps, int all_taps) {
    Place place = place_of(groups, per_out);
    int size = n_rows * n_columns;
    Complex* map = SHARED(Complex);
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        Complex zero = {0.0f, 0.0f};
        map[i] = zero;
    }
    BARRIER();
    const float* one =
        weights + (((long long)place.group * per_out + place.channel) * per_in + place.other) * all_taps;
    const float* two = one + (long long)per_in * all_taps;
    for (int t = threadIdx.x; t < taps; t += blockDim.x) {
        int r = wrapped(-offsets[2 * t], n_rows), c = wrapped(-offsets[2 * t + 1], n_columns);
        Complex value = {one[places[t]] / (float)size, place.two ? two[places[t]] / (float)size : 0.0f};
        map[r * n_columns + c] = value;
    }
    BARRIER();
    forward(map, row_waves, column_waves, n_rows, n_columns, n_rows);
    for (int bin = threadIdx.x; bin < bins; bin += blockDim.x) {
        Pair pair = separated(map[mirrors[2 * bin]], map[mirrors[2 * bin + 1]]);
        float* row = kernels + (((long long)bin * groups + place.group) * 2 * per_in + 2 * place.other) * 2 * per_out +
                     2 * place.channel;
        float* next = row + 2 * per_out;
        row[0] = pair.one.re;
        row[1] = pair.one.im;
        next[0] = -pair.one.im;
        next[1] = pair.one.re;
        if (!place.two) continue;
        row[2] = pair.two.re;
        row[3] = pair.two.im;
        next[2] = -pair.two.im;
        next[3] = pair.two.re;
    }
}
TWIN_WITH_BARRIERS(dense_kernels)

// The spectrum of x times the conjugate one of the gradient, from the product of real matrices, [re, im] x [re, im].
DEVICE Complex correlation(const float* row, const float* next) {
    Complex c = {row[0] + next[1], next[0] - row[1]};
    return c;
}

// dw, [groups, per_out, per_in, all taps], from products[bin][group], real matrices of 2 per_in x 2 per_out: those of
// the spectra of x and of the gradient over samples. slots[tap] is the t of a tap, or -1 if it meets no data. Blocks and
// shared memory as of dense_kernels.
KERNEL dense_taps(const float* products, const int* offsets, const int* slots, const int* mirrors,
                  const float* row_waves, const float* column_waves, float* dw, int groups, int per_in, int per_out,
                  int n_rows, int n_columns, int bins, int all_taps) {
    Place place = place_of(groups, per_out);
    int size = n_rows * n_columns;
    Complex* map = SHARED(Complex);
    for (int bin = threadIdx.x; bin < bins; bin += blockDim.x) {
        const float* row = products +
                           (((long long)bin * groups + place.group) * 2 * per_in + 2 * place.other) * 2 * per_out +
                           2 * place.channel;
        const float* next = row + 2 * per_out;
        Complex zero = {0.0f, 0.0f};
        join(map, mirrors[2 * bin], mirrors[2 * bin + 1], correlation(row, next),
             place.two ? correlation(row + 2, next + 2) : zero);
    }
    BARRIER();
    back(map, row_waves, column_waves, n_rows, n_columns);
    float* one = dw + (((long long)place.group * per_out + place.channel) * per_in + place.other) * all_taps;
    float* two = one + (long long)per_in * all_taps;
    for (int tap = threadIdx.x; tap < all_taps; tap += blockDim.x) {
        int t = slots[tap];
        Complex value = {0.0f, 0.0f};
        if (t >= 0) value = map[wrapped(offsets[2 * t], n_rows) * n_columns + wrapped(offsets[2 * t + 1], n_columns)];
        one[tap] = value.re / (float)size;
        if (place.two) two[tap] = value.im / (float)size;
    }
}
TWIN_WITH_BARRIERS(dense_taps)

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
TWIN(columns_of_maps)

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
TWIN(maps_of_columns)

// packed[o][i][t] = weights[o][i][place[t]], of `rows` pairs (o, i).
KERNEL packed_taps(const float* weights, const int* places, float* packed, int rows, int taps, int all_taps) {
    long long count = (long long)rows * taps;
    for (long long i = THREAD; i < count; i += THREADS)
        packed[i] = weights[i / taps * all_taps + places[i % taps]];
}
TWIN(packed_taps)

// The other way round; zero for taps that meet no data.
KERNEL unpacked_taps(const float* packed, const int* slots, float* weights, int rows, int taps, int all_taps) {
    long long count = (long long)rows * all_taps;
    for (long long i = THREAD; i < count; i += THREADS) {
        int t = slots[i % all_taps];
        weights[i] = t < 0 ? 0.0f : packed[i / all_taps * taps + t];
    }
}
TWIN(unpacked_taps)
