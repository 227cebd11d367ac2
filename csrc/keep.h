// keep: the crops of a batch of maps, over threads.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "cpu/variant.h"
#include "crops.h"

namespace netdissect {

struct KeptCrops {  // ascending by image, then unit
  std::vector<int32_t> image, unit;
  std::vector<Box> box;
  std::vector<float> values;
  std::optional<std::pair<int64_t, int64_t>> nonfinite;  // first (image, unit) with a NaN or an infinity
};

// Crops of every map of the batch that exceeds its unit's bound. They are incomplete if there is a non-finite value.
KeptCrops keep(const Kernels& kernels, const KeepJob& job, int64_t first_image, int64_t threads);

}  // namespace netdissect
