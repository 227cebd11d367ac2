// Label maps of one image → 64-bit words of 8×8 tiles (layout: PackedLabels in concepts.py).
#pragma once

#include <cstdint>
#include <vector>

namespace netdissect {

struct PackedImage {
  int64_t tiles = 0;
  std::vector<int32_t> concepts;  // columns, -1 = padding to a multiple of 8 slots
  std::vector<int32_t> areas;     // pixels of each
  std::vector<uint64_t> words;    // [tiles, slots]
};

// maps [layers, height, width] of concept numbers, 0 = unlabelled; columns[number] = column or -1.
// Concepts in `whole` hold for every pixel already and get no slot.
// std::invalid_argument names a number without a column.
PackedImage pack(const int32_t* maps, int64_t layers, int64_t height, int64_t width,
                 const std::vector<int32_t>& columns, const std::vector<int32_t>& whole);

}  // namespace netdissect
