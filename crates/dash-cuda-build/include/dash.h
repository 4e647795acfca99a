// What every kernel file includes: the same source is compiled by nvcc for GPUs, and as C++ for the emulator on the
// CPU, by which its logic is tested where there is no GPU.
//
// Rules that keep both the same: no atomics (sums have a fixed order), no instructions of a single kind of GPU, no
// static shared memory (the emulator fills dynamic shared memory with NaN before each block), every barrier is met by all
// threads of a block, and loops over more work than there are threads, so that any grid is right.
#pragma once

#ifdef __CUDACC__
// Kernels whose blocks have at most 256 threads, and 512, with the registers that some of them leave each other.
#define KERNEL extern "C" __global__ void __launch_bounds__(256, 2)
#define LARGE_KERNEL extern "C" __global__ void __launch_bounds__(512, 2)
#define DEVICE static __device__ __forceinline__
#define DEVICE_METHOD __device__ __forceinline__
#define BARRIER() __syncthreads()
#define UNROLL _Pragma("unroll")
#define EMULATED(name)
#define EMULATED_WITH_BARRIERS(name)
extern __shared__ __align__(16) double dash_shared[];
#else
#include "emulator.h"
#endif

// Dynamic shared memory as an array of T.
#define SHARED(T) reinterpret_cast<T*>(dash_shared)

// This thread among all of the grid's x axis, and how many there are.
#define THREAD ((long long)blockIdx.x * blockDim.x + threadIdx.x)
#define THREADS ((long long)gridDim.x * blockDim.x)

// Values are added up in f32 in runs of this many, and the runs in f64: as exact as a sum in f64 to a rounding or so,
// on GPUs that have few units for f64.
#define RUN 16

struct Sum {
    double total;
    float run;
    int length;
};

DEVICE void add_to(Sum* sum, float value) {
    sum->run += value;
    if (++sum->length == RUN) {
        sum->total += sum->run;
        sum->run = 0.0f;
        sum->length = 0;
    }
}

// The sum over all threads of a block of `value`, in a fixed order; for a power of two of threads. Uses one double per
// thread of shared memory from `at` on. The result is for all threads.
DEVICE double block_sum(double value, double* at) {
    at[threadIdx.x] = value;
    BARRIER();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) at[threadIdx.x] += at[threadIdx.x + half];
        BARRIER();
    }
    double sum = at[0];
    BARRIER();
    return sum;
}
