// Losses and their gradients in the outputs, in one pass: what the gradient needs, the loss has found.
#include "dash.h"

DEVICE double softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(x > 0.0 ? -x : x)); }
DEVICE double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// Of logits [rows, k]: losses[row] = -log p, or if `focal` -(1 - p)^gamma log(p + 1e-9), with p the softmax at the class;
// grad = the gradient of their mean.
KERNEL class_loss(const float* logits, const int* classes, double* losses, float* grad, double gamma, int focal, int rows,
                  int k) {
    const double epsilon = 1e-9;
    for (int row = THREAD; row < rows; row += THREADS) {
        const float* x = logits + (long long)row * k;
        float* to = grad + (long long)row * k;
        int own = classes[row];
        double most = x[0], sum = 0.0, others = 0.0;
        for (int i = 1; i < k; i++) most = x[i] > most ? x[i] : most;
        for (int i = 0; i < k; i++) {
            double term = exp(x[i] - most);
            sum += term;
            if (i != own) others += term;
        }
        if (!focal) {
            losses[row] = (most - x[own]) + log(sum);
            for (int i = 0; i < k; i++) to[i] = (float)((exp(x[i] - most) / sum - (i == own ? 1.0 : 0.0)) / rows);
            continue;
        }
        double p = exp(x[own] - most) / sum, q = others / sum;
        losses[row] = -pow(q, gamma) * log(p + epsilon);
        double pull = gamma > 0.0 && q > 0.0 ? gamma * pow(q, gamma - 1.0) * log(p + epsilon) : 0.0;
        double slope = p * (pull - pow(q, gamma) / (p + epsilon)) / rows;
        for (int i = 0; i < k; i++) to[i] = (float)(slope * (i == own ? q : -exp(x[i] - most) / sum));
    }
}
EMULATED(class_loss)

// Of logits and labels (bit 0: the label; bit 1: ignored): sums[block] of -w ln s(x) and -ln(1 - s(x)), each at
// most `most`, w being the weight of positive labels; grad = the gradient of their mean, also where a loss has reached its
// most. One double of shared memory per thread.
KERNEL label_loss(const float* logits, const int* labels, double* sums, float* grad, double weight, double most,
                  long long count) {
    long long per_block = (count + gridDim.x - 1) / gridDim.x;
    long long first = blockIdx.x * per_block, end = first + per_block < count ? first + per_block : count;
    double total = 0.0;
    for (long long i = first + threadIdx.x; i < end; i += blockDim.x) {
        double x = logits[i], loss = 0.0, slope = 0.0;
        if (labels[i] == 0) {
            loss = softplus(x);
            slope = sigmoid(x);
        } else if (labels[i] == 1) {
            loss = weight * softplus(-x);
            slope = -weight * sigmoid(-x);
        }
        // Not a number stays what it is.
        total += loss > most ? most : loss;
        grad[i] = (float)(slope / count);
    }
    total = block_sum(total, SHARED(double));
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}
EMULATED_WITH_BARRIERS(label_loss)

// Of fields [samples, length], each decoded as value * scale + mean if `scaled`: losses[sample] = the norm of the
// difference by that of the target, or if not `relative` the sum of squared differences; grad = the gradient of the sum of
// the former, of the mean of the latter over all elements. A block per sample, one double per thread.
KERNEL field_loss(const float* output, const float* target, const float* mean, const float* scale, double* losses,
                  float* grad, int relative, int scaled, int samples, int length) {
    double* at = SHARED(double);
    for (int sample = blockIdx.x; sample < samples; sample += gridDim.x) {
        const float* o = output + (long long)sample * length;
        const float* t = target + (long long)sample * length;
        double difference = 0.0, reference = 0.0;
        for (int i = threadIdx.x; i < length; i += blockDim.x) {
            double s = scaled ? scale[i] : 1.0f, m = scaled ? mean[i] : 0.0f;
            double d = ((double)o[i] - (double)t[i]) * s, r = t[i] * s + m;
            difference += d * d;
            reference += r * r;
        }
        difference = block_sum(difference, at);
        reference = block_sum(reference, at);
        double factor = 2.0 / ((double)samples * length), loss = difference;
        if (relative) {
            difference = sqrt(difference);
            reference = sqrt(reference);
            loss = difference / reference;
            // At the minimum every direction is a subgradient; zero is the one that stays.
            factor = difference > 0.0 ? 1.0 / (difference * reference) : 0.0;
        }
        if (threadIdx.x == 0) losses[sample] = loss;
        for (int i = threadIdx.x; i < length; i += blockDim.x) {
            double s = scaled ? scale[i] : 1.0f;
            grad[(long long)sample * length + i] = (float)(factor * s * s * ((double)o[i] - (double)t[i]));
        }
    }
}
EMULATED_WITH_BARRIERS(field_loss)

// out[0] = the sum of all parts of a loss, divided. One block, one double per thread.
KERNEL loss_total(const double* sums, float* out, double divisor, int count) {
    double total = 0.0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) total += sums[i];
    total = block_sum(total, SHARED(double));
    if (threadIdx.x == 0) out[0] = (float)(total / divisor);
}
EMULATED_WITH_BARRIERS(loss_total)

// out = x * factor[0]
KERNEL scale_by(const float* x, const float* factor, float* out, long long count) {
    for (long long i = THREAD; i < count; i += THREADS) out[i] = x[i] * factor[0];
}
EMULATED(scale_by)
