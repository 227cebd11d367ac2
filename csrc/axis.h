// What the kernels derive from an axis table (i0, i1, f): padding, look-up of pixels by feature, weights by tile.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "labels.h"

namespace netdissect {

class AxisTable {
 public:
  // i0, i1, f of every label pixel, checked: ascending, within `features`, i1 at most one above i0, f in [0, 1).
  AxisTable(const int32_t* i0, const int32_t* i1, const float* f, int64_t pixels, int64_t features);
  Axis axis() const;  // valid as long as the table

 private:
  void add_tile(size_t first);

  int64_t pixels_, pairs_ = 1;
  std::vector<int32_t> i0_, i1_, begin_, end_;
  std::vector<float> f_, weights_by_8_;
  std::vector<uint64_t> second_pair_;
};

}  // namespace netdissect
