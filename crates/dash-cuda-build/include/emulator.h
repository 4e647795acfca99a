// The emulator: a grid becomes loops over blocks and threads. Where a kernel has barriers, the threads of a block are fibres
// that change at them.
//
// Threads run one at a time, in ascending or in descending order: where a barrier is missing, the two orders give
// different results, and the tests run both.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

struct Dimensions { unsigned x, y, z; };
static thread_local Dimensions threadIdx, blockIdx, blockDim, gridDim;
static thread_local double* dash_shared;

#define KERNEL static void
#define LARGE_KERNEL KERNEL
#define DEVICE static inline
#define DEVICE_METHOD inline
#define BARRIER() emulator::barrier()
#define UNROLL
// Makes a kernel without barriers, or one with barriers, callable from outside: the grid, the block, bytes of shared
// memory, whether threads run in descending order, and addresses of the arguments. Returns 0, or 1 if some threads
// missed a barrier that others waited at.
#define EMULATED(name) EMULATED_OF(name, false)
#define EMULATED_WITH_BARRIERS(name) EMULATED_OF(name, true)
#define EMULATED_OF(name, barriers)                                                                                       \
    extern "C" int emulated_##name(const unsigned* grid, const unsigned* block, unsigned shared, int descending,          \
                               void** arguments) {                                                                    \
        return emulator::launch(name, barriers, grid, block, shared, descending != 0, arguments);                         \
    }

// Every file has its own: templates of the same name must not be shared, since their threads are not.
namespace {
namespace emulator {

const std::size_t STACK = 64 << 10;

struct Fibre {
    ucontext_t context;
    jmp_buf place;
    Dimensions index;
    bool started, ended;
};

thread_local ucontext_t unused;
thread_local jmp_buf scheduler;
thread_local Fibre* current;
thread_local bool missed;
thread_local void (*body)(void*);
thread_local void* body_data;

// From a fibre to the scheduler, until it is resumed. Contexts are entered once and then left by jumps, since changing
// them asks the system for masks of signals.
void yield() {
    Fibre* self = current;
    if (_setjmp(self->place) == 0) _longjmp(scheduler, 1);
    threadIdx = self->index;
}

void barrier() {
    if (current)
        yield();
    else
        missed = true;  // A kernel that was said to have none.
}

void entry() {
    for (;;) {
        body(body_data);
        current->ended = true;
        yield();
    }
}

__attribute__((noinline)) void resume(Fibre& fibre) {
    current = &fibre;
    threadIdx = fibre.index;
    if (_setjmp(scheduler) != 0) return;
    if (current->started) _longjmp(current->place, 1);
    current->started = true;
    setcontext(&current->context);
}

__attribute__((noinline)) void prepare(Fibre& fibre, Dimensions index, char* stack) {
    fibre.started = false;
    fibre.index = index;
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = stack;
    fibre.context.uc_stack.ss_size = STACK;
    fibre.context.uc_link = &unused;
    makecontext(&fibre.context, entry, 0);
}

template <class... A> struct Call {
    void (*kernel)(A...);
    std::tuple<A...> arguments;
    template <std::size_t... I> void run(std::index_sequence<I...>) { kernel(std::get<I>(arguments)...); }
    static void go(void* data) { static_cast<Call*>(data)->run(std::index_sequence_for<A...>{}); }
};

template <class... A, std::size_t... I>
std::tuple<A...> unpack(void** arguments, std::index_sequence<I...>) {
    return std::tuple<A...>(*static_cast<A*>(arguments[I])...);
}

template <class... A>
int launch(void (*kernel)(A...), bool barriers, const unsigned* grid, const unsigned* block, unsigned shared,
           bool descending, void** arguments) {
    Call<A...> call{kernel, unpack<A...>(arguments, std::index_sequence_for<A...>{})};
    body = Call<A...>::go;
    body_data = &call;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    std::size_t count = std::size_t(block[0]) * block[1] * block[2];
    std::vector<double> memory(shared / sizeof(double) + 1);
    dash_shared = memory.data();
    auto index = [&](std::size_t i) {
        i = descending ? count - 1 - i : i;
        return Dimensions{unsigned(i % block[0]), unsigned(i / block[0] % block[1]), unsigned(i / block[0] / block[1])};
    };
    std::unique_ptr<char[]> stacks(barriers ? new char[count * STACK] : nullptr);
    std::vector<Fibre> fibres(barriers ? count : 0);
    for (std::size_t i = 0; i < fibres.size(); i++) prepare(fibres[i], index(i), stacks.get() + i * STACK);
    missed = false;
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                // NaN as f32 and as f64: what is read before it is written spoils the result.
                std::memset(memory.data(), 0xff, memory.size() * sizeof(double));
                if (!barriers) {
                    current = nullptr;
                    for (std::size_t i = 0; i < count; i++) {
                        threadIdx = index(i);
                        body(body_data);
                    }
                    if (missed) return 1;
                    continue;
                }
                for (Fibre& fibre : fibres) fibre.ended = false;
                for (std::size_t ended = 0; ended < count;) {
                    ended = 0;
                    for (Fibre& fibre : fibres) {
                        resume(fibre);
                        ended += fibre.ended;
                    }
                    if (ended > 0 && ended < count) return 1;
                }
            }
    return 0;
}

}  // namespace emulator
}  // namespace
