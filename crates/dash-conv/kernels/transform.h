// Fourier transforms of maps, or of pieces of them, in shared memory.
//
// Two real maps are the real and the imaginary part of one complex map. Transforms are done in place, forward by
// decimation in frequency, whose results are in the order of reversed digits, and backward by decimation in time, which
// takes them in that order: products of spectra need no other (Gentleman and Sande 1966; Cooley and Tukey 1965).
//
// A block has blockDim.y complex maps of equal size, one behind the other in shared memory, each transformed by the
// blockDim.x threads of a threadIdx.y: small maps share a block.
#pragma once
#include "dash.h"

// Both parts are read at once.
struct alignas(8) Complex { float re, im; };

DEVICE Complex complex(float re, float im) {
    Complex c = {re, im};
    return c;
}

DEVICE Complex plus(Complex a, Complex b) { return complex(a.re + b.re, a.im + b.im); }
DEVICE Complex minus(Complex a, Complex b) { return complex(a.re - b.re, a.im - b.im); }
DEVICE Complex times(Complex a, Complex b) {
    return complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re);
}
DEVICE Complex conjugate(Complex a) { return complex(a.re, -a.im); }
// a + factor * b, and the same with b turned by a quarter.
DEVICE Complex plus(Complex a, float factor, Complex b) {
    return complex(a.re + factor * b.re, a.im + factor * b.im);
}
DEVICE Complex plus_turned(Complex a, float factor, Complex b) {
    return complex(a.re - factor * b.im, a.im + factor * b.re);
}

// Transforms of R numbers in registers: with exp(sign 2 pi sqrt(-1) / R).
template <int R> struct Few;

template <> struct Few<2> {
    static DEVICE_METHOD void transform(Complex* a, float) {
        Complex sum = plus(a[0], a[1]);
        a[1] = minus(a[0], a[1]);
        a[0] = sum;
    }
};

template <> struct Few<3> {
    static DEVICE_METHOD void transform(Complex* a, float sign) {
        const float half_root = 0.866025403784438647f;
        Complex sum = plus(a[1], a[2]), difference = minus(a[1], a[2]);
        Complex middle = plus(a[0], -0.5f, sum);
        a[0] = plus(a[0], sum);
        a[1] = plus_turned(middle, sign * half_root, difference);
        a[2] = plus_turned(middle, -sign * half_root, difference);
    }
};

template <> struct Few<4> {
    static DEVICE_METHOD void transform(Complex* a, float sign) {
        Complex even = plus(a[0], a[2]), even_ = minus(a[0], a[2]);
        Complex odd = plus(a[1], a[3]), odd_ = minus(a[1], a[3]);
        a[0] = plus(even, odd);
        a[1] = plus_turned(even_, sign, odd_);
        a[2] = minus(even, odd);
        a[3] = plus_turned(even_, -sign, odd_);
    }
};

template <> struct Few<5> {
    static DEVICE_METHOD void transform(Complex* a, float sign) {
        // Cosines and sines of 2 pi / 5 and 4 pi / 5.
        const float c1 = 0.309016994374947424f, c2 = -0.809016994374947424f;
        const float s1 = 0.951056516295153572f, s2 = 0.587785252292473129f;
        Complex sum1 = plus(a[1], a[4]), sum2 = plus(a[2], a[3]);
        Complex difference1 = minus(a[1], a[4]), difference2 = minus(a[2], a[3]);
        Complex one = plus(plus(a[0], c1, sum1), c2, sum2), two = plus(plus(a[0], c2, sum1), c1, sum2);
        Complex zero = complex(0.0f, 0.0f);
        Complex turn1 = plus(plus(zero, s1, difference1), s2, difference2);
        Complex turn2 = plus(plus(zero, s2, difference1), -s1, difference2);
        a[0] = plus(a[0], plus(sum1, sum2));
        a[1] = plus_turned(one, sign, turn1);
        a[2] = plus_turned(two, sign, turn2);
        a[3] = plus_turned(two, -sign, turn2);
        a[4] = plus_turned(one, -sign, turn1);
    }
};

// Lines of n numbers of a map: the numbers of a line are `step` apart, and lines begin `line` apart. Where numbers are
// not neighbours, lines are, and neighbouring threads take them (`across`): their banks of shared memory differ.
struct Lines { int n, step, count, line; bool across; };

// twiddle factors[i] = exp(-2 pi sqrt(-1) i / n), conjugated on the way back.
DEVICE Complex twiddle(const float* twiddles, int i, bool back) {
    return complex(twiddles[2 * i], back ? -twiddles[2 * i + 1] : twiddles[2 * i + 1]);
}

// One stage: blocks of `length` numbers are divided by R.
template <int R>
DEVICE void stage(Complex* map, const float* twiddles, Lines lines, int length, bool back) {
    int part = length / R, turn = lines.n / length, per_line = lines.n / R;
    for (int i = threadIdx.x; i < lines.count * per_line; i += blockDim.x) {
        int of = lines.across ? i % lines.count : i / per_line;
        int at = lines.across ? i / lines.count : i % per_line;
        int j = at % part;
        Complex* x = map + of * lines.line + (at / part * length + j) * lines.step;
        Complex a[R];
        UNROLL
        for (int k = 0; k < R; k++) a[k] = x[k * part * lines.step];
        if (back) {
            UNROLL
            for (int k = 1; k < R; k++) a[k] = times(a[k], twiddle(twiddles, k * j * turn, true));
        }
        Few<R>::transform(a, back ? 1.0f : -1.0f);
        if (!back) {
            UNROLL
            for (int k = 1; k < R; k++) a[k] = times(a[k], twiddle(twiddles, k * j * turn, false));
        }
        UNROLL
        for (int k = 0; k < R; k++) x[k * part * lines.step] = a[k];
    }
    BARRIER();
}

DEVICE void stage_of(int radix, Complex* map, const float* twiddles, Lines lines, int length, bool back) {
    if (radix == 4) stage<4>(map, twiddles, lines, length, back);
    else if (radix == 2) stage<2>(map, twiddles, lines, length, back);
    else if (radix == 3) stage<3>(map, twiddles, lines, length, back);
    else stage<5>(map, twiddles, lines, length, back);
}

// The largest radix of a length of factors 2, 3 and 5.
DEVICE int radix_of(int length) { return length % 4 == 0 ? 4 : length % 2 == 0 ? 2 : length % 3 == 0 ? 3 : 5; }

DEVICE void lines_forward(Complex* map, const float* twiddles, Lines lines) {
    for (int length = lines.n; length > 1;) {
        int radix = radix_of(length);
        stage_of(radix, map, twiddles, lines, length, false);
        length /= radix;
    }
}

// Backward, without the division by n: the stages in the opposite order.
DEVICE void lines_back(Complex* map, const float* twiddles, Lines lines) {
    for (int length = 1; length < lines.n;) {
        int rest = lines.n;
        while (rest / radix_of(rest) != length) rest /= radix_of(rest);
        stage_of(radix_of(rest), map, twiddles, lines, rest, true);
        length = rest;
    }
}

// Sizes of a transform with its twiddle factors: a pair of numbers for each row, and for each column.
struct Transform {
    int rows, columns;
    const float *row_twiddles, *column_twiddles;
};

DEVICE Transform transform_of(int rows, int columns, const float* row_twiddles, const float* column_twiddles) {
    Transform t = {rows, columns, row_twiddles, column_twiddles};
    return t;
}

// The map of a threadIdx.y.
DEVICE Complex* own_map(Transform t) { return SHARED(Complex) + threadIdx.y * (t.rows * t.columns); }

// The transform of a map of which the first `live` rows are not zero.
DEVICE void forward(Complex* map, Transform t, int live) {
    Lines along = {t.columns, 1, live, t.columns, false}, down = {t.rows, t.columns, t.columns, 1, true};
    lines_forward(map, t.column_twiddles, along);
    lines_forward(map, t.row_twiddles, down);
}

// Back again, in `count` rows from the `first` on.
DEVICE void back(Complex* map, Transform t, int first, int count) {
    Lines down = {t.rows, t.columns, t.columns, 1, true}, along = {t.columns, 1, count, t.columns, false};
    lines_back(map, t.row_twiddles, down);
    lines_back(map + first * t.columns, t.column_twiddles, along);
}

// A run along an axis: number at + stride * i of a transform is number start + step * i of a map, for i < len.
struct Run { int start, step, len, at, stride; };

// A piece of a map in a transform.
struct Piece { Run rows, columns; };

// How maps are cut: the numbers of runs along rows and along columns, the step and the stride of each, and then start,
// length and place of each run. Pieces are the pairs of both.
DEVICE int pieces_of(const int* cut) { return cut[0] * cut[1]; }

DEVICE Run run_of(const int* cut, int axis, int i) {
    const int* run = cut + 6 + 3 * (axis * cut[0] + i);
    Run r = {run[0], cut[2 + 2 * axis], run[1], run[2], cut[3 + 2 * axis]};
    return r;
}

DEVICE Piece piece_of(const int* cut, int piece) {
    Piece p = {run_of(cut, 0, piece / cut[1]), run_of(cut, 1, piece % cut[1])};
    return p;
}

// Rows of a transform up to the last of a run, and from its first on.
DEVICE int live_rows(Run rows) { return rows.len > 0 ? rows.at + rows.stride * (rows.len - 1) + 1 : 0; }

// Which number of a map is at a place of a transform, or -1.
DEVICE int number_at(Run run, int place) {
    int i = place - run.at;
    if (run.stride != 1) {
        if (i % run.stride != 0) return -1;
        i /= run.stride;
    }
    return i >= 0 && i < run.len ? run.start + run.step * i : -1;
}

// A piece of two maps with so many columns as one complex map, zero elsewhere; either may be null, for zeros.
DEVICE void load_two(Complex* map, Transform t, const float* one, const float* two, Piece piece, int columns) {
    for (int i = threadIdx.x; i < t.rows * t.columns; i += blockDim.x) {
        int r = number_at(piece.rows, i / t.columns), c = number_at(piece.columns, i % t.columns);
        Complex value = complex(0.0f, 0.0f);
        if (r >= 0 && c >= 0) {
            long long at = (long long)r * columns + c;
            if (one) value.re = one[at];
            if (two) value.im = two[at];
        }
        map[i] = value;
    }
    BARRIER();
}

// The other way round, with a number added to each; null maps are not written.
DEVICE void store_two(const Complex* map, Transform t, float* one, float* two, Piece piece, int columns, float b_one,
                      float b_two) {
    for (int i = threadIdx.x; i < piece.rows.len * piece.columns.len; i += blockDim.x) {
        int r = i / piece.columns.len, c = i % piece.columns.len;
        Complex value = map[(piece.rows.at + piece.rows.stride * r) * t.columns + piece.columns.at +
                            piece.columns.stride * c];
        long long at = (long long)(piece.rows.start + piece.rows.step * r) * columns + piece.columns.start +
                       piece.columns.step * c;
        if (one) one[at] = value.re + b_one;
        if (two) two[at] = value.im + b_two;
    }
}

// Where an offset, or its opposite, is in a transform of n numbers.
DEVICE int wrapped(int offset, int n) { return offset < 0 ? offset + n : offset; }

// Zero everywhere.
DEVICE void clear(Complex* map, Transform t) {
    for (int i = threadIdx.x; i < t.rows * t.columns; i += blockDim.x) map[i] = complex(0.0f, 0.0f);
    BARRIER();
}
