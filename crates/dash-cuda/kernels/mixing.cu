// Mixing weights, and the normalisation of architecture gradients (DASH, section 5).
#include "dash.h"

// Architecture parameters are few: every thread goes over all of them by itself.

// out = softmax(alpha + noise).
KERNEL mixing_weights(const float* alpha, const float* noise, float* out, int candidates) {
    for (int i = (int)THREAD; i < candidates; i += (int)THREADS) {
        float most = alpha[0] + noise[0];
        for (int j = 1; j < candidates; j++) most = fmaxf(most, alpha[j] + noise[j]);
        double sum = 0.0;
        for (int j = 0; j < candidates; j++) sum += expf(alpha[j] + noise[j] - most);
        out[i] = (float)(expf(alpha[i] + noise[i] - most) / sum);
    }
}
EMULATED(mixing_weights)

// dalpha = c (g - <c, g>), of mixing weights c and their gradient g.
KERNEL mixing_gradient(const float* mixing_weights, const float* grad, float* dalpha, int candidates) {
    for (int i = (int)THREAD; i < candidates; i += (int)THREADS) {
        double product = 0.0;
        for (int j = 0; j < candidates; j++) product += (double)mixing_weights[j] * (double)grad[j];
        dalpha[i] = (float)(mixing_weights[i] * (grad[i] - product));
    }
}
EMULATED(mixing_gradient)

// out = g / (scale (|g| + 1e-8)) + penalty, or without a scale g + penalty.
KERNEL arch_gradient(const float* grad, const float* penalty, float* out, double scale, int candidates) {
    for (int i = (int)THREAD; i < candidates; i += (int)THREADS) {
        double squares = 0.0;
        for (int j = 0; j < candidates; j++) squares += (double)grad[j] * (double)grad[j];
        double factor = scale == 0.0 ? 1.0 : 1.0 / (scale * (sqrt(squares) + 1e-8));
        out[i] = (float)(grad[i] * factor + penalty[i]);
    }
}
EMULATED(arch_gradient)
