// prune: crops shrunk to what still counts once their unit's bound has risen.
#pragma once

#include <cstdint>

#include "crops.h"

namespace netdissect {

struct StoreSize {
  int64_t crops, values;
};

// Shrinks every crop to what exceeds the (higher) bounds, in place (the pointers are those of `crops`); empty crops
// are dropped. Returns the new sizes.
StoreSize prune(const Crops& crops, int32_t* image, int32_t* unit, Box* box, float* values, const float* bounds,
                int64_t threads);

}  // namespace netdissect
