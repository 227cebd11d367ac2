// Derives the kernels' tables of an axis (axis.h).
#include "axis.h"

#include <algorithm>
#include <cmath>

namespace netdissect {

AxisTable::AxisTable(const int32_t* i0, const int32_t* i1, const float* f, int64_t pixels, int64_t features)
    : pixels_(pixels), i0_(i0, i0 + pixels), i1_(i1, i1 + pixels), f_(f, f + pixels) {
  for (int32_t feature = 0; feature < features; ++feature) {
    begin_.push_back(static_cast<int32_t>(std::lower_bound(i0_.begin(), i0_.end(), feature) - i0_.begin()));
    end_.push_back(static_cast<int32_t>(std::upper_bound(i1_.begin(), i1_.end(), feature) - i1_.begin()));
  }
  const auto padded = static_cast<size_t>((pixels + kGroup - 1) / kGroup * kGroup);
  if (pixels) i0_.resize(padded, i0_.back()), i1_.resize(padded, i1_.back());
  f_.resize(padded, NAN);
  for (const float weight : f_) weights_by_8_.insert(weights_by_8_.end(), kTile, weight);
  for (size_t p = 0; p < padded; p += kTile) add_tile(p);
}

void AxisTable::add_tile(size_t first) {
  const size_t last = first + kTile - 1;
  uint64_t rows = 0;
  int64_t pairs = 1;
  for (size_t p = first; p <= last; ++p) {
    if (i0_[p] == i0_[last] && i1_[p] == i1_[last]) rows |= uint64_t{0xff} << (kTile * (p - first));
    pairs += p > first && (i0_[p] != i0_[p - 1] || i1_[p] != i1_[p - 1]);
  }
  second_pair_.push_back(rows);
  pairs_ = std::max(pairs_, pairs);
}

Axis AxisTable::axis() const {
  const int64_t tiles = (pixels_ + kTile - 1) / kTile;
  return {static_cast<int64_t>(i0_.size()),
          tiles,
          (tiles + kTile - 1) / kTile,
          i0_.data(),
          i1_.data(),
          f_.data(),
          begin_.data(),
          end_.data(),
          weights_by_8_.data(),
          pairs_,
          second_pair_.data()};
}

}  // namespace netdissect
