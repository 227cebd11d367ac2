// Shrinks crops in place (prune.h).
#include "prune.h"

#include <cstring>
#include <vector>

#include "cpu/select.h"
#include "parallel.h"

namespace netdissect {

StoreSize prune(const Crops& crops, int32_t* image, int32_t* unit, Box* box, float* values, const float* bounds,
                int64_t threads) {
  const Kernels& kernels = select_kernels("");
  std::vector<Box> left(static_cast<size_t>(crops.count));
  parallel_ranges(crops.count, threads, [&](int64_t first, int64_t last, int64_t) {
    kernels.shrink(crops, bounds, first, last, left.data());
  });
  int64_t kept = 0;
  float* to = values;
  for (int64_t i = 0; i < crops.count; ++i) {  // in place: never ahead of what is still to be read
    const Box old = box[i], small = left[static_cast<size_t>(i)];
    if (!small.height) continue;
    const float* row = values + crops.start[i] + (small.y - old.y) * old.width + (small.x - old.x);
    for (int y = 0; y < small.height; ++y, row += old.width, to += small.width)
      std::memmove(to, row, sizeof(float) * small.width);
    image[kept] = image[i];
    unit[kept] = unit[i];
    box[kept++] = small;
  }
  return {kept, to - values};
}

}  // namespace netdissect
