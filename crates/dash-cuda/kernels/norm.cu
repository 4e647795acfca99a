// Batch normalisation over [B, C, n], with a ReLU at its end or without (Ioffe and Szegedy 2015).
//
// Sums over a channel are taken in two steps, by `parts` blocks per channel and then by one thread that adds up their
// results in order: how a channel is divided depends on the problem only, and so no bit on the GPU.
#include "dash.h"

// What a channel does to its values: (x - mean) * scale + bias.
struct Affine { float mean, scale, bias; };

DEVICE double inverse_std(const double* moments, int channel, double epsilon) {
    return 1.0 / sqrt(moments[2 * channel + 1] + epsilon);
}

DEVICE Affine affine_of(const double* moments, const float* weight, const float* bias, int channel, double epsilon) {
    Affine a;
    a.mean = (float)moments[2 * channel];
    a.scale = (float)((double)weight[channel] * inverse_std(moments, channel, epsilon));
    a.bias = bias[channel];
    return a;
}

// Where value i of channel c is.
DEVICE long long place(long long i, int channel, int channels, int n) {
    return ((i / n) * channels + channel) * (long long)n + i % n;
}

// sums[channel][part] = sums of deviations from the channel's first value, and of their squares, over the part. Grid:
// channels x parts. Two doubles of shared memory per thread.
KERNEL norm_sums(const float* x, double* sums, int batch, int channels, int n, int parts) {
    int channel = blockIdx.x, part = blockIdx.y;
    double* at = SHARED(double);
    long long count = (long long)batch * n, per_part = (count + parts - 1) / parts;
    long long first = part * per_part, end = first + per_part < count ? first + per_part : count;
    float shift = x[(long long)channel * n];
    Sum sum = {0.0, 0.0f, 0}, squares = {0.0, 0.0f, 0};
    for (long long i = first + threadIdx.x; i < end; i += blockDim.x) {
        float deviation = x[place(i, channel, channels, n)] - shift;
        add_to(&sum, deviation);
        add_to(&squares, deviation * deviation);
    }
    double all = block_sum(sum.total + sum.run, at);
    double all_squares = block_sum(squares.total + squares.run, at + blockDim.x);
    if (threadIdx.x == 0) {
        double* to = sums + 2 * ((long long)channel * parts + part);
        to[0] = all;
        to[1] = all_squares;
    }
}
EMULATED_WITH_BARRIERS(norm_sums)

// moments[channel] = mean and variance; the running ones take `factor` of the new, the variance without bias.
KERNEL norm_moments(const float* x, const double* sums, double* moments, const float* old_mean,
                    const float* old_variance, float* running_mean, float* running_variance, double factor, int batch, int channels, int n, int parts) {
    for (int channel = THREAD; channel < channels; channel += THREADS) {
        double sum = 0.0, squares = 0.0, count = (double)batch * n;
        for (int part = 0; part < parts; part++) {
            const double* from = sums + 2 * ((long long)channel * parts + part);
            sum += from[0];
            squares += from[1];
        }
        double shifted = sum / count;
        double mean = shifted + x[(long long)channel * n];
        double variance = squares / count - shifted * shifted;
        // Not a number stays what it is.
        if (variance < 0.0) variance = 0.0;
        moments[2 * channel] = mean;
        moments[2 * channel + 1] = variance;
        // A single value has no variance without bias, and counts as 0.
        double unbiased = count / ((count > 2.0 ? count : 2.0) - 1.0);
        running_mean[channel] = (float)((1.0 - factor) * old_mean[channel] + factor * mean);
        running_variance[channel] =
            (float)((1.0 - factor) * old_variance[channel] + factor * variance * unbiased);
    }
}
EMULATED(norm_moments)

// Moments from running statistics.
KERNEL norm_given(const float* running_mean, const float* running_variance, double* moments, int channels) {
    for (int channel = THREAD; channel < channels; channel += THREADS) {
        moments[2 * channel] = running_mean[channel];
        moments[2 * channel + 1] = running_variance[channel];
    }
}
EMULATED(norm_given)

// y = (x - mean) * scale + bias, and if `relu` at least 0. Grid: x over positions, y over planes.
KERNEL norm_apply(const float* x, const double* moments, const float* weight, const float* bias, float* y,
                  double epsilon, int relu, int planes, int channels, int n) {
    for (int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        Affine a = affine_of(moments, weight, bias, plane % channels, epsilon);
        const float* from = x + (long long)plane * n;
        float* to = y + (long long)plane * n;
        for (int i = THREAD; i < n; i += THREADS) {
            float value = (from[i] - a.mean) * a.scale + a.bias;
            // Not a number stays what it is.
            to[i] = relu && value < 0.0f ? 0.0f : value;
        }
    }
}
EMULATED(norm_apply)

// sums[channel][part] = sum of the gradient behind the ReLU, and of its product with x - mean. Grid and shared memory
// as of norm_sums.
KERNEL norm_gradient_sums(const float* x, const float* grad, const double* moments, const float* weight,
                          const float* bias, double* sums, double epsilon, int relu, int batch, int channels, int n,
                          int parts) {
    int channel = blockIdx.x, part = blockIdx.y;
    double* at = SHARED(double);
    long long count = (long long)batch * n, per_part = (count + parts - 1) / parts;
    long long first = part * per_part, end = first + per_part < count ? first + per_part : count;
    Affine a = affine_of(moments, weight, bias, channel, epsilon);
    Sum sum = {0.0, 0.0f, 0}, products = {0.0, 0.0f, 0};
    for (long long i = first + threadIdx.x; i < end; i += blockDim.x) {
        long long at_value = place(i, channel, channels, n);
        float deviation = x[at_value] - a.mean;
        float g = relu && deviation * a.scale + a.bias <= 0.0f ? 0.0f : grad[at_value];
        add_to(&sum, g);
        add_to(&products, g * deviation);
    }
    double all = block_sum(sum.total + sum.run, at);
    double all_products = block_sum(products.total + products.run, at + blockDim.x);
    if (threadIdx.x == 0) {
        double* to = sums + 2 * ((long long)channel * parts + part);
        to[0] = all;
        to[1] = all_products;
    }
}
EMULATED_WITH_BARRIERS(norm_gradient_sums)

// Gradients of weight and bias, and factors[channel] = what norm_gradient takes from the gradient: a shift, and a
// slope per deviation.
KERNEL norm_gradient_factors(const double* sums, const double* moments, float* factors, float* grad_weight,
                             float* grad_bias, double epsilon, double count, int channels, int parts) {
    for (int channel = THREAD; channel < channels; channel += THREADS) {
        double sum = 0.0, products = 0.0;
        for (int part = 0; part < parts; part++) {
            const double* from = sums + 2 * ((long long)channel * parts + part);
            sum += from[0];
            products += from[1];
        }
        double inverse = inverse_std(moments, channel, epsilon);
        // Deviations were taken from the mean in f32.
        products += ((double)(float)moments[2 * channel] - moments[2 * channel]) * sum;
        factors[2 * channel] = (float)(sum / count);
        factors[2 * channel + 1] = (float)(inverse * inverse * products / count);
        grad_weight[channel] = (float)(products * inverse);
        grad_bias[channel] = (float)sum;
    }
}
EMULATED(norm_gradient_factors)

// dx = scale * (gradient behind the ReLU - shift - slope * deviation). Grid as of norm_apply.
KERNEL norm_gradient(const float* x, const float* grad, const double* moments, const float* weight, const float* bias,
                     const float* factors, float* dx, double epsilon, int relu, int planes, int channels, int n) {
    for (int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        int channel = plane % channels;
        Affine a = affine_of(moments, weight, bias, channel, epsilon);
        float shift = factors[2 * channel], slope = factors[2 * channel + 1];
        const float* from = x + (long long)plane * n;
        const float* g = grad + (long long)plane * n;
        float* to = dx + (long long)plane * n;
        for (int i = THREAD; i < n; i += THREADS) {
            float deviation = from[i] - a.mean;
            float behind = relu && deviation * a.scale + a.bias <= 0.0f ? 0.0f : g[i];
            to[i] = a.scale * (behind - shift - slope * deviation);
        }
    }
}
EMULATED(norm_gradient)
