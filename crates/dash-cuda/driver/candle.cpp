// Those of candle's own kernels that networks of this program use, as definitions: a thread for everything.
#include "driver.h"
#include <cmath>
#include <cstddef>
#include <map>

namespace {

template <class T> T of(void** arguments, int i) { return *static_cast<T*>(arguments[i]); }

// Where number i of a tensor is, whose sizes and strides are in `info`; null for one without gaps.
size_t place(size_t i, size_t axes, const size_t* sizes, const size_t* strides) {
    if (!sizes) return i;
    size_t at = 0;
    for (size_t axis = axes; axis-- > 0;) {
        at += i % sizes[axis] * strides[axis];
        i /= sizes[axis];
    }
    return at;
}

// (count, axes, info, x, y)
template <float (*F)(float)> int unary(const unsigned*, const unsigned*, unsigned, int, void** a) {
    auto count = of<size_t>(a, 0), axes = of<size_t>(a, 1);
    auto* info = of<const size_t*>(a, 2);
    auto* x = of<const float*>(a, 3);
    auto* y = of<float*>(a, 4);
    for (size_t i = 0; i < count; i++) y[i] = F(x ? x[place(i, axes, info, info + axes)] : y[i]);
    return 0;
}

// (count, axes, info, x, z, y)
template <float (*F)(float, float)> int binary(const unsigned*, const unsigned*, unsigned, int, void** a) {
    auto count = of<size_t>(a, 0), axes = of<size_t>(a, 1);
    auto* info = of<const size_t*>(a, 2);
    auto *x = of<const float*>(a, 3), *z = of<const float*>(a, 4);
    auto* y = of<float*>(a, 5);
    for (size_t i = 0; i < count; i++)
        y[i] = F(x[place(i, axes, info, info + axes)], z[place(i, axes, info, info + 2 * axes)]);
    return 0;
}

// (count, axes, info, x, y, factor, summand)
int affine(const unsigned*, const unsigned*, unsigned, int, void** a) {
    auto count = of<size_t>(a, 0), axes = of<size_t>(a, 1);
    auto* info = of<const size_t*>(a, 2);
    auto* x = of<const float*>(a, 3);
    auto* y = of<float*>(a, 4);
    float factor = of<float>(a, 5), summand = of<float>(a, 6);
    for (size_t i = 0; i < count; i++) y[i] = (x ? x[place(i, axes, info, info + axes)] : y[i]) * factor + summand;
    return 0;
}

// (count, each, axes, info, x, y): a block for each result.
template <bool SUM> int reduce(const unsigned* grid, const unsigned*, unsigned, int, void** a) {
    auto count = of<size_t>(a, 0), each = of<size_t>(a, 1), axes = of<size_t>(a, 2);
    auto* info = of<const size_t*>(a, 3);
    auto* x = of<const float*>(a, 4);
    auto* y = of<float*>(a, 5);
    for (size_t block = 0; block < grid[0]; block++) {
        float result = SUM ? 0.0f : -INFINITY;
        for (size_t i = block * each; i < (block + 1) * each && i < count; i++) {
            float value = x[place(i, axes, info, info + axes)];
            result = SUM ? result + value : std::fmax(result, value);
        }
        y[block] = result;
    }
    return 0;
}

// (results, each, axes, info, x, y): a thread for each result.
int small_sums(const unsigned*, const unsigned*, unsigned, int, void** a) {
    auto results = of<size_t>(a, 0), each = of<size_t>(a, 1), axes = of<size_t>(a, 2);
    auto* info = of<const size_t*>(a, 3);
    auto* x = of<const float*>(a, 4);
    auto* y = of<float*>(a, 5);
    for (size_t r = 0; r < results; r++) {
        y[r] = 0.0f;
        for (size_t i = r * each; i < (r + 1) * each; i++) y[r] += x[place(i, axes, info, info + axes)];
    }
    return 0;
}

// (count, axes, info, value, y)
int fill(const unsigned*, const unsigned*, unsigned, int, void** a) {
    auto count = of<size_t>(a, 0), axes = of<size_t>(a, 1);
    auto* info = of<const size_t*>(a, 2);
    auto value = of<float>(a, 3);
    auto* y = of<float*>(a, 4);
    for (size_t i = 0; i < count; i++) y[place(i, axes, info, info + axes)] = value;
    return 0;
}

// (x, y, rows, columns, distance of rows of x, of y)
int copy_rows(const unsigned*, const unsigned*, unsigned, int, void** a) {
    auto* x = of<const float*>(a, 0);
    auto* y = of<float*>(a, 1);
    unsigned rows = of<unsigned>(a, 2), columns = of<unsigned>(a, 3), from = of<unsigned>(a, 4), to = of<unsigned>(a, 5);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) y[r * to + c] = x[r * from + c];
    return 0;
}

float copy(float x) { return x; }
float negative(float x) { return -x; }
float square(float x) { return x * x; }
float root(float x) { return std::sqrt(x); }
float exponential(float x) { return std::exp(x); }
float logarithm(float x) { return std::log(x); }
float sum(float x, float y) { return x + y; }
float difference(float x, float y) { return x - y; }
float product(float x, float y) { return x * y; }
float quotient(float x, float y) { return x / y; }

}  // namespace

Kernel of_candle(const std::string& name) {
    static const std::map<std::string, Kernel> kernels = {
        {"ucopy_f32", unary<copy>},       {"uneg_f32", unary<negative>},     {"usqr_f32", unary<square>},
        {"usqrt_f32", unary<root>},       {"uexp_f32", unary<exponential>},  {"ulog_f32", unary<logarithm>},
        {"badd_f32", binary<sum>},        {"bsub_f32", binary<difference>},  {"bmul_f32", binary<product>},
        {"bdiv_f32", binary<quotient>},   {"affine_f32", affine},            {"fast_sum_f32", reduce<true>},
        {"fast_max_f32", reduce<false>},  {"fast_sum_small_f32", small_sums}, {"const_set_f32", fill},
        {"copy2d_f32", copy_rows},
    };
    auto found = kernels.find(name);
    return found == kernels.end() ? nullptr : found->second;
}
