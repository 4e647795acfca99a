// A stub driver: what programs built for GPUs ask of NVIDIA's driver, done by the CPU, so that all that is
// around kernels is tested where there is no GPU: copies, events, memory, launches, what candle does with them.
//
// It is as late as a driver may be. Everything that is asked for waits in a queue until somebody waits for it, so that who
// forgets to wait reads what was there before; memory is filled with NaN when it is given out and when it is given back;
// numbers around it must be intact then. Kernels are found by their names among the emulator and, for candle's own, in
// candle.cpp; the number and the widths of their arguments are those of the PTX that was loaded. One stream is all there is
// to test: all streams are one queue.
//
// With STUB_DRIVER_COUNTS=1 in the environment it says at the end what was asked for, and how often.
#include "driver.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string>

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_FOUND = 500, NOT_READY = 600, OUT_OF_RESOURCES = 701, NOT_SUPPORTED = 801 };

std::recursive_mutex lock;
std::deque<std::function<void()>> queue;
unsigned long long asked = 0, done = 0;

[[noreturn]] void fail(const std::string& what) {
    std::fprintf(stderr, "the stub driver: %s\n", what.c_str());
    std::abort();
}

// How often things were asked for.
struct Counts {
    std::map<std::string, unsigned long long> times;
    ~Counts() {
        if (!std::getenv("STUB_DRIVER_COUNTS")) return;
        for (auto& entry : times) std::fprintf(stderr, "%8llu %s\n", entry.second, entry.first.c_str());
    }
} counts;

void count(const std::string& what) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    counts.times[what]++;
}

// Does what was asked for, up to the given place of the queue.
void run_to(unsigned long long place) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    while (done < place) {
        auto next = std::move(queue.front());
        queue.pop_front();
        done++;
        next();
    }
}

// Memory of the GPU, between two guards.
const size_t GUARD = 256;
// NaN, so that who reads them spoils the result.
const unsigned INTACT = 0x7fa5a5a5;
struct Block { unsigned char* begin; size_t size; };
std::map<unsigned long long, Block> blocks;
// Pinned host memory: address and size.
std::map<const void*, size_t> locked;

unsigned long long allocate(size_t size) {
    auto* begin = static_cast<unsigned char*>(std::aligned_alloc(256, (size + 2 * GUARD + 255) / 256 * 256));
    for (size_t i = 0; i < GUARD; i += 4) {
        std::memcpy(begin + i, &INTACT, 4);
        std::memcpy(begin + GUARD + size + i, &INTACT, 4);
    }
    std::memset(begin + GUARD, 0xff, size);
    auto address = reinterpret_cast<unsigned long long>(begin + GUARD);
    blocks[address] = {begin, size};
    return address;
}

void check(const Block& block) {
    for (size_t i = 0; i < GUARD; i += 4)
        if (std::memcmp(block.begin + i, &INTACT, 4) || std::memcmp(block.begin + GUARD + block.size + i, &INTACT, 4))
            fail("something has written outside of its memory");
}

void check_all() {
    std::lock_guard<std::recursive_mutex> guard(lock);
    for (auto& block : blocks) check(block.second);
}

void release(unsigned long long address) {
    auto found = blocks.find(address);
    if (found == blocks.end()) fail("memory is given back that was not given out");
    Block block = found->second;
    check(block);
    std::memset(block.begin + GUARD, 0xff, block.size);
    blocks.erase(found);
    std::free(block.begin);
}

bool is_locked(const void* address) {
    auto after = locked.upper_bound(address);
    if (after == locked.begin()) return false;
    auto before = std::prev(after);
    return static_cast<const char*>(address) < static_cast<const char*>(before->first) + before->second;
}

struct Event { unsigned long long place; };

struct Function {
    std::string name;
    std::vector<size_t> widths;
    unsigned most_threads;
    int shared;
    Kernel kernel;
};

struct Module { std::map<std::string, Function> functions; };

size_t width_of(const std::string& parameter) {
    for (const char* wide : {".u64", ".s64", ".b64", ".f64"})
        if (parameter.find(wide) != std::string::npos) return 8;
    for (const char* single : {".u32", ".s32", ".b32", ".f32"})
        if (parameter.find(single) != std::string::npos) return 4;
    return 0;
}

// The kernels of a module in PTX: names, arguments and the most threads of a block.
Module* parse(const std::string& ptx) {
    auto* module = new Module;
    for (size_t at = ptx.find(".entry "); at != std::string::npos; at = ptx.find(".entry ", at)) {
        at += 7;
        size_t open = ptx.find('(', at), body = ptx.find('{', at);
        Function function = {ptx.substr(at, open - at), {}, 1024, 48 << 10, nullptr};
        std::string head = ptx.substr(open, body - open);
        for (size_t p = head.find(".param"); p != std::string::npos; p = head.find(".param", p + 1))
            function.widths.push_back(width_of(head.substr(p + 6, head.find_first_of(",)\n", p) - p - 6)));
        size_t most = head.find(".maxntid");
        if (most != std::string::npos) function.most_threads = std::atoi(head.c_str() + most + 8);
        module->functions[function.name] = function;
    }
    return module;
}

}  // namespace

void defer(std::function<void()> work) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    queue.push_back(std::move(work));
    asked++;
}

extern "C" {

typedef unsigned long long Address;

int cuInit(unsigned) { return SUCCESS; }
int cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? SUCCESS : 101;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    // Shared memory of a block of an H100; pools of memory; compute capability.
    *value = attribute == 97 ? 227 << 10 : attribute == 115 ? 1 : attribute == 75 ? 9 : 0;
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
    static int only;
    *context = &only;
    return SUCCESS;
}
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxDestroy_v2(void*) { return SUCCESS; }
static thread_local void* current;
int cuCtxGetCurrent(void** context) {
    *context = current;
    return SUCCESS;
}
int cuCtxSetCurrent(void* context) {
    current = context;
    return SUCCESS;
}
int cuCtxSynchronize() {
    run_to(asked);
    return SUCCESS;
}
int cuGetErrorString(int code, const char** text) {
    *text = code == NOT_FOUND ? "not found" : code == INVALID_VALUE ? "invalid value" : "an error of the stub driver";
    return SUCCESS;
}

int cuStreamCreate(void** stream, unsigned) {
    static char streams[64];
    static int next;
    *stream = &streams[next++ % 64];
    return SUCCESS;
}
int cuStreamDestroy_v2(void*) { return SUCCESS; }
int cuStreamSynchronize(void*) {
    count("wait for everything");
    run_to(asked);
    check_all();
    return SUCCESS;
}
int cuStreamWaitEvent(void*, void*, unsigned) { return SUCCESS; }
int cuStreamIsCapturing(void*, int* capturing) {
    *capturing = 0;
    return SUCCESS;
}

int cuEventCreate(void** event, unsigned) {
    *event = new Event{0};
    return SUCCESS;
}
int cuEventDestroy_v2(void* event) {
    delete static_cast<Event*>(event);
    return SUCCESS;
}
int cuEventRecord(void* event, void*) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    static_cast<Event*>(event)->place = asked;
    return SUCCESS;
}
int cuEventQuery(void* event) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    return static_cast<Event*>(event)->place <= done ? SUCCESS : NOT_READY;
}
int cuEventSynchronize(void* event) {
    if (static_cast<Event*>(event)->place > 0) count("wait for an event");
    run_to(static_cast<Event*>(event)->place);
    return SUCCESS;
}

int cuMemAllocAsync(Address* address, size_t size, void*) {
    count("allocate");
    // What drivers say of it differs from version to version.
    if (size == 0) return INVALID_VALUE;
    std::lock_guard<std::recursive_mutex> guard(lock);
    *address = allocate(size);
    return SUCCESS;
}
int cuMemAlloc_v2(Address* address, size_t size) { return cuMemAllocAsync(address, size, nullptr); }
int cuMemFreeAsync(Address address, void*) {
    defer([=] { release(address); });
    return SUCCESS;
}
int cuMemFree_v2(Address address) {
    run_to(asked);
    std::lock_guard<std::recursive_mutex> guard(lock);
    release(address);
    return SUCCESS;
}
int cuMemHostAlloc(void** address, size_t size, unsigned) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    *address = std::aligned_alloc(256, (size + 255) / 256 * 256);
    std::memset(*address, 0xff, size);
    locked[*address] = size;
    return SUCCESS;
}
int cuMemFreeHost(void* address) {
    std::lock_guard<std::recursive_mutex> guard(lock);
    // Who frees memory that is still to be copied finds NaN there.
    std::memset(address, 0xff, locked[address]);
    locked.erase(address);
    return SUCCESS;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
    *free = size_t(40) << 30;
    *total = size_t(80) << 30;
    return SUCCESS;
}
int cuDeviceGetDefaultMemPool(void** pool, int) {
    static int only;
    *pool = &only;
    return SUCCESS;
}
int cuMemPoolSetAttribute(void*, int, void*) { return SUCCESS; }
int cuMemPoolTrimTo(void*, size_t) { return SUCCESS; }

int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t size, void*) {
    count(is_locked(from) ? "copy to the GPU" : "copy to the GPU from memory that is not locked");
    if (is_locked(from)) {
        defer([=] { std::memcpy(reinterpret_cast<void*>(to), from, size); });
        return SUCCESS;
    }
    // Other memory is copied before the call returns.
    std::vector<char> copy(static_cast<const char*>(from), static_cast<const char*>(from) + size);
    defer([=] { std::memcpy(reinterpret_cast<void*>(to), copy.data(), copy.size()); });
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t size, void*) {
    count(is_locked(to) ? "copy from the GPU" : "copy from the GPU, waited for");
    defer([=] { std::memcpy(to, reinterpret_cast<const void*>(from), size); });
    if (!is_locked(to)) run_to(asked);
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, void*) {
    defer([=] { std::memmove(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), size); });
    return SUCCESS;
}
int cuMemsetD8Async(Address to, unsigned char value, size_t size, void*) {
    defer([=] { std::memset(reinterpret_cast<void*>(to), value, size); });
    return SUCCESS;
}

int cuModuleLoadData(void** module, const void* image) {
    count("load a module");
    *module = parse(static_cast<const char*>(image));
    return SUCCESS;
}
int cuModuleUnload(void*) { return SUCCESS; }
// Not for programs that load no files and have one GPU.
int cuModuleLoad() { return NOT_SUPPORTED; }
int cuMemcpyPeerAsync() { return NOT_SUPPORTED; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
    auto& functions = static_cast<Module*>(module)->functions;
    auto found = functions.find(name);
    if (found == functions.end()) return NOT_FOUND;
    *function = &found->second;
    return SUCCESS;
}
int cuFuncSetAttribute(void* function, int attribute, int value) {
    // MAX_DYNAMIC_SHARED_SIZE_BYTES
    if (value > 227 << 10) return INVALID_VALUE;
    if (attribute == 8) static_cast<Function*>(function)->shared = value;
    return SUCCESS;
}
int cuLaunchKernel(void* of, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void*, void** arguments, void**) {
    auto* function = static_cast<Function*>(of);
    unsigned long long threads = 1ull * bx * by * bz;
    if (gx == 0 || gx > 0x7fffffff || gy == 0 || gy > 65535 || gz == 0 || gz > 65535 || threads == 0) return INVALID_VALUE;
    if (threads > function->most_threads) return OUT_OF_RESOURCES;
    if (int(shared) > function->shared) return INVALID_VALUE;
    if (!function->kernel) {
        auto emulator = dlsym(RTLD_DEFAULT, ("emulated_" + function->name).c_str());
        if (emulator) function->kernel = reinterpret_cast<Kernel>(emulator);
        else function->kernel = of_candle(function->name);
        if (!function->kernel) fail("there is no kernel " + function->name);
    }
    count("launch " + function->name);
    std::vector<unsigned long long> values;
    for (size_t i = 0; i < function->widths.size(); i++) {
        if (function->widths[i] == 0) fail("an argument of " + function->name + " has an unknown width");
        unsigned long long value = 0;
        std::memcpy(&value, arguments[i], function->widths[i]);
        values.push_back(value);
    }
    Kernel kernel = function->kernel;
    defer([=]() mutable {
        std::vector<void*> pointers;
        for (auto& value : values) pointers.push_back(&value);
        const unsigned grid[3] = {gx, gy, gz}, block[3] = {bx, by, bz};
        if (kernel(grid, block, shared, 0, pointers.data()) != 0) fail("threads missed a barrier");
    });
    return SUCCESS;
}

// cuBLAS and cuRAND, as far as candle asks them. Matrices have their columns one after the other.
int cublasCreate_v2(void** handle) {
    static int only;
    *handle = &only;
    return 0;
}
int cublasDestroy_v2(void*) { return 0; }
int cublasSetStream_v2(void*, void*) { return 0; }
int cublasGemmStridedBatchedEx(void*, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int type, int lda,
                               long long stride_a, const void* b, int, int ldb, long long stride_b, const void* beta, void* c,
                               int, int ldc, long long stride_c, int batch, int compute, int) {
    // CUDA_R_32F and CUBLAS_COMPUTE_32F, or with TF32.
    if (type != 0 || (compute != 68 && compute != 77)) fail("a product of other numbers than f32");
    count("product");
    if (lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m) return 7;
    float by = *static_cast<const float*>(alpha), old = *static_cast<const float*>(beta);
    defer([=] {
        for (int s = 0; s < batch; s++) {
            auto *x = static_cast<const float*>(a) + s * stride_a, *y = static_cast<const float*>(b) + s * stride_b;
            auto* z = static_cast<float*>(c) + s * stride_c;
            for (int j = 0; j < n; j++)
                for (int i = 0; i < m; i++) {
                    double sum = 0;
                    for (int l = 0; l < k; l++)
                        sum += double(ta ? x[l + (long long)i * lda] : x[i + (long long)l * lda]) *
                               (tb ? y[j + (long long)l * ldb] : y[l + (long long)j * ldb]);
                    float& to = z[i + (long long)j * ldc];
                    to = float(by * sum) + (old == 0.0f ? 0.0f : old * to);
                }
        }
    });
    return 0;
}
int cublasDgemmStridedBatched() { return 15; }
int curandCreateGenerator(void** generator, int) {
    static int only;
    *generator = &only;
    return 0;
}
int curandDestroyGenerator(void*) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }
int curandSetStream(void*, void*) { return 0; }

}  // extern "C"
