// The twin: a grid becomes loops over blocks, and the threads of a block become fibres that change at barriers.
//
// Threads run one at a time, in ascending or in descending order: where a barrier is missing, the two orders give
// different results, and the tests run both.
#pragma once
#include <cmath>
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
#define DEVICE static inline
#define BARRIER() twin::barrier()
// Makes a kernel callable from outside: the grid, the block, bytes of shared memory, whether threads run in descending
// order, and addresses of the arguments. Returns 0, or 1 if some threads missed a barrier that others waited at.
#define TWIN(name)                                                                                                    \
    extern "C" int twin_##name(const unsigned* grid, const unsigned* block, unsigned shared, int descending,          \
                               void** arguments) {                                                                    \
        return twin::launch(name, grid, block, shared, descending != 0, arguments);                                   \
    }

// Every file has its own: templates of the same name must not be shared, since their threads are not.
namespace {
namespace twin {

const std::size_t STACK = 64 << 10;

struct Fibre {
    ucontext_t context;
    Dimensions index;
    bool ended;
};

thread_local ucontext_t scheduler;
thread_local Fibre* current;
thread_local void (*body)(void*);
thread_local void* body_data;

void barrier() {
    Fibre* self = current;
    swapcontext(&self->context, &scheduler);
    threadIdx = self->index;
}

void entry() {
    body(body_data);
    current->ended = true;
    // The context that is linked goes on.
}

__attribute__((noinline)) void prepare(Fibre& fibre, Dimensions index, char* stack) {
    fibre.ended = false;
    fibre.index = index;
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = stack;
    fibre.context.uc_stack.ss_size = STACK;
    fibre.context.uc_link = &scheduler;
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
int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* block, unsigned shared, bool descending,
           void** arguments) {
    Call<A...> call{kernel, unpack<A...>(arguments, std::index_sequence_for<A...>{})};
    body = Call<A...>::go;
    body_data = &call;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    std::size_t count = std::size_t(block[0]) * block[1] * block[2];
    std::vector<double> memory(shared / sizeof(double) + 1);
    std::unique_ptr<char[]> stacks(new char[count * STACK]);
    std::vector<Fibre> fibres(count);
    dash_shared = memory.data();
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                // NaN as f32 and as f64: what is read before it is written spoils the result.
                std::memset(memory.data(), 0xff, memory.size() * sizeof(double));
                for (std::size_t i = 0; i < count; i++) {
                    Dimensions index = {unsigned(i % block[0]), unsigned(i / block[0] % block[1]),
                                        unsigned(i / block[0] / block[1])};
                    prepare(fibres[i], index, stacks.get() + i * STACK);
                }
                for (;;) {
                    std::size_t ended = 0;
                    for (std::size_t i = 0; i < count; i++) {
                        current = &fibres[descending ? count - 1 - i : i];
                        threadIdx = current->index;
                        swapcontext(&scheduler, &current->context);
                        ended += current->ended;
                    }
                    if (ended == count) break;
                    if (ended > 0) return 1;
                }
            }
    return 0;
}

}  // namespace twin
}  // namespace
