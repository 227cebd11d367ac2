// count and masks: what the masks of crops cover, over threads.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/variant.h"
#include "labels.h"

namespace netdissect {

// Adds to the job's intersections and areas. The images of its crops are numbered from `first_image`; image_start is
// filled in here. std::invalid_argument if the crops are out of order or of an image without labels.
void count(const Kernels& kernels, CountJob job, int64_t first_image, int64_t threads);

// The mask of each crop: words [P, tiles].
std::vector<uint64_t> masks(const Kernels& kernels, const MaskJob& job, int64_t threads);

}  // namespace netdissect
