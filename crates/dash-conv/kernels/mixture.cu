// From the weights of all candidates to the weights of the union of their taps, and back (DASH, sections 4.1 and 4.3).
//
// weights is flat: of each candidate [pairs][its taps]. A table lists for each tap of the union which weights go there:
// entries begin[tap] .. begin[tap + 1], each a candidate, the index of its first weight of pair 0, and how many taps it has.
#include "dash.h"

// out[pair][tap] = sum over entries of coefficient * weight.
KERNEL mix(const float* weights, const float* coefficients, const int* begin, const int* candidate, const int* base,
           const int* width, float* out, int pairs, int taps) {
    long long count = (long long)pairs * taps;
    for (long long i = THREAD; i < count; i += THREADS) {
        int tap = (int)(i % taps);
        long long pair = i / taps;
        float sum = 0.0f;
        for (int e = begin[tap]; e < begin[tap + 1]; e++)
            sum += coefficients[candidate[e]] * weights[base[e] + pair * width[e]];
        out[i] = sum;
    }
}
EMULATED(mix)

// dw = coefficient * the gradient at the weight's tap. Entries are listed by weight: owner[i] is the candidate of the
// i-th weight of pair 0, tap[i] its tap, base[i] its index, width[i] the number of its candidate's taps.
KERNEL mix_gradient(const float* grad, const float* coefficients, const int* owner, const int* tap, const int* base,
                    const int* width, float* dw, int pairs, int taps, int entries) {
    long long count = (long long)pairs * entries;
    for (long long i = THREAD; i < count; i += THREADS) {
        int e = (int)(i % entries);
        long long pair = i / entries;
        dw[base[e] + pair * width[e]] = coefficients[owner[e]] * grad[pair * taps + tap[e]];
    }
}
EMULATED(mix_gradient)

// dc[candidate] = <its weights, the gradient at their taps>. A block per candidate, whose entries are
// begin[candidate] .. begin[candidate + 1]; one double of shared memory per thread.
KERNEL mix_coefficients(const float* grad, const float* weights, const int* begin, const int* tap, const int* base,
                        const int* width, float* dc, int pairs, int taps, int candidates) {
    double* at = SHARED(double);
    for (int candidate = blockIdx.x; candidate < candidates; candidate += gridDim.x) {
        int first = begin[candidate], own = begin[candidate + 1] - first;
        long long count = (long long)pairs * own;
        double total = 0.0;
        for (long long i = threadIdx.x; i < count; i += blockDim.x) {
            int e = first + (int)(i % own);
            long long pair = i / own;
            total += (double)weights[base[e] + pair * width[e]] * (double)grad[pair * taps + tap[e]];
        }
        total = block_sum(total, at);
        if (threadIdx.x == 0) dc[candidate] = (float)total;
    }
}
EMULATED_WITH_BARRIERS(mix_coefficients)
