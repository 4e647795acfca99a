// Clipping by the norm of all gradients, and stochastic gradient descent with Nesterov's momentum in PyTorch's
// convention.
#include "dash.h"

// sums[block] = the sum of squares of the block's share; one double of shared memory per thread.
KERNEL square_sums(const float* x, double* sums, long long count) {
    long long per_block = (count + gridDim.x - 1) / gridDim.x;
    long long first = blockIdx.x * per_block, end = first + per_block < count ? first + per_block : count;
    double total = 0.0;
    for (long long i = first + threadIdx.x; i < end; i += blockDim.x) total += (double)x[i] * (double)x[i];
    total = block_sum(total, SHARED(double));
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}
EMULATED_WITH_BARRIERS(square_sums)

// scale[0] = what gradients are multiplied with, so that their norm is at most max_norm. One block.
KERNEL clip_scale(const double* sums, float* scale, double max_norm, int count) {
    double total = 0.0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) total += sums[i];
    total = block_sum(total, SHARED(double));
    if (threadIdx.x == 0) {
        double factor = max_norm / (sqrt(total) + 1e-6);
        // A norm that is not a number leaves the gradients as they are, as on the CPU.
        scale[0] = (float)(factor < 1.0 ? factor : 1.0);
    }
}
EMULATED_WITH_BARRIERS(clip_scale)

// new_buffer = momentum buffer + g', new_p = p - rate (g' + momentum new_buffer), where g' = scale g + decay p.
KERNEL descend(const float* p, const float* grad, const float* buffer, const float* scale, float* new_p,
               float* new_buffer, double decay, double momentum, double rate, long long count) {
    float s = scale[0], d = (float)decay, m = (float)momentum, r = (float)rate;
    for (long long i = THREAD; i < count; i += THREADS) {
        float g = s * grad[i] + d * p[i];
        float b = m * buffer[i] + g;
        new_buffer[i] = b;
        new_p[i] = p[i] - r * (g + m * b);
    }
}
EMULATED(descend)
