// What the parts of the stub driver share.
#pragma once
#include <functional>
#include <string>
#include <vector>

// Grid, block, bytes of shared memory, whether threads run in descending order, addresses of arguments; 0 if all is well.
typedef int (*Kernel)(const unsigned*, const unsigned*, unsigned, int, void**);

// Has something done after what was asked for before.
void defer(std::function<void()> work);

// A kernel of candle's by its name, or null.
Kernel of_candle(const std::string& name);
