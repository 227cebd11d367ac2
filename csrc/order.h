// The crop store on the host: pruning, order statistics.
#pragma once

#include <cstdint>

#include "crops.h"

namespace netdissect {

struct StoreSize {
  int64_t crops, values;
};

// Shrinks every crop to what exceeds the (higher) bounds, in place (the pointers are those of `crops`); empty crops
// go. Gives the new sizes.
StoreSize prune(const Crops& crops, int32_t* image, int32_t* unit, Box* box, float* values, const float* bounds,
                int64_t threads);

// Per unit, the rank-th largest of all values ever seen, given that those above `bounds` are in the store;
// the bound itself where fewer than `rank` are above it.
void kth_largest(const Crops& crops, int64_t units, const float* bounds, int64_t rank, int64_t threads, float* result);

}  // namespace netdissect
