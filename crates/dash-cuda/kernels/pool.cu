// The mean over all positions of [planes, n].
#include "dash.h"

// means[plane] = mean of the plane; a block per plane, one double of shared memory per thread.
KERNEL mean_forward(const float* x, float* means, int planes, int n) {
    double* at = SHARED(double);
    for (int plane = blockIdx.x; plane < planes; plane += gridDim.x) {
        const float* values = x + (long long)plane * n;
        Sum sum = {0.0, 0.0f, 0};
        for (int i = threadIdx.x; i < n; i += blockDim.x) add_to(&sum, values[i]);
        double total = block_sum(sum.total + sum.run, at);
        if (threadIdx.x == 0) means[plane] = (float)(total / n);
    }
}
EMULATED_WITH_BARRIERS(mean_forward)

// dx = the gradient of its plane's mean, divided by n.
KERNEL mean_backward(const float* grad, float* dx, long long count, int n) {
    for (long long i = THREAD; i < count; i += THREADS) dx[i] = (float)((double)grad[i / n] / n);
}
EMULATED(mean_backward)
