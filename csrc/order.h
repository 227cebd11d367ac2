// Order statistics of the values in crops.
#pragma once

#include <cstdint>

#include "crops.h"

namespace netdissect {

// Per unit, the rank-th largest of all values ever seen, given that those above `bounds` are in the crops;
// the bound itself if fewer than `rank` are above it.
void kth_largest(const Crops& crops, int64_t units, const float* bounds, int64_t rank, int64_t threads, float* result);

}  // namespace netdissect
