// Fourier transforms of whole maps in shared memory.
//
// Two real maps are the real and the imaginary part of one complex map. Transforms are done in place, forward by
// decimation in frequency, whose results are in the order of reversed digits, and backward by decimation in time, which
// takes them in that order: products of spectra need no other (Gentleman and Sande 1966; Cooley and Tukey 1965).
#pragma once
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

// Two maps, spread by strides, as one complex map; the second may be null, for zeros.
DEVICE void load_two(Complex* map, const float* one, const float* two, int rows, int columns, int stride_rows,
                     int stride_columns, int n_rows, int n_columns) {
    for (int i = threadIdx.x; i < n_rows * n_columns; i += blockDim.x) {
        int r = i / n_columns, c = i % n_columns;
        Complex value = {0.0f, 0.0f};
        if (r % stride_rows == 0 && c % stride_columns == 0) {
            r /= stride_rows;
            c /= stride_columns;
            if (r < rows && c < columns) {
                value.re = one[r * columns + c];
                if (two) value.im = two[r * columns + c];
            }
        }
        map[i] = value;
    }
    BARRIER();
}

// Rows of a transform that are not zero, for maps spread by strides.
DEVICE int live_rows(int rows, int stride, int n_rows) {
    int live = (rows - 1) * stride + 1;
    return live < n_rows ? live : n_rows;
}

// Where an offset, or its opposite, is in a transform of n numbers.
DEVICE int wrapped(int offset, int n) { return offset < 0 ? offset + n : offset; }
