// Label maps to words: two passes over the pixels (pack.h).
#include "pack.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

namespace netdissect {

PackedImage pack(const int32_t* maps, int64_t layers, int64_t height, int64_t width,
                 const std::vector<int32_t>& columns, const std::vector<int32_t>& whole) {
  if (height && width > INT32_MAX / height)  // an area is int32
    throw std::invalid_argument("label maps of " + std::to_string(height) + "×" + std::to_string(width) +
                                " pixels: an image has at most 2147483647");
  const int64_t pixels = layers * height * width;
  constexpr int32_t kAbsent = -1, kSeen = -2;
  std::vector<int32_t> slot_of(columns.size(), kAbsent);  // by number
  PackedImage image;
  int32_t previous = 0;
  for (int64_t i = 0; i < pixels; ++i) {
    const int32_t number = maps[i];
    if (number == previous || number == 0) continue;
    if (number < 0 || static_cast<size_t>(number) >= columns.size() || columns[static_cast<size_t>(number)] < 0)
      throw std::invalid_argument("concept number " + std::to_string(number) + " (label map) is not in the vocabulary");
    slot_of[static_cast<size_t>(number)] = kSeen;
    previous = number;
  }
  for (size_t number = 0; number < slot_of.size(); ++number) {
    if (slot_of[number] != kSeen) continue;
    slot_of[number] = kAbsent;
    if (std::find(whole.begin(), whole.end(), columns[number]) != whole.end()) continue;
    slot_of[number] = static_cast<int32_t>(image.concepts.size());
    image.concepts.push_back(columns[number]);
  }
  const size_t slots = (image.concepts.size() + 7) / 8 * 8;
  image.concepts.resize(slots, -1);
  image.areas.assign(slots, 0);
  const int64_t tiles_x = (width + 7) / 8, tiles_y = (height + 7) / 8;
  image.tiles = tiles_x * tiles_y;
  image.words.assign(static_cast<size_t>(image.tiles) * slots, 0);
  if (!slots) return image;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t y = 0; y < height; ++y) {
      const int32_t* row = maps + (layer * height + y) * width;
      uint64_t* tiles = image.words.data() + static_cast<size_t>(y / 8 * tiles_x) * slots;
      for (int64_t x = 0; x < width; ++x) {
        const int32_t slot = row[x] ? slot_of[static_cast<size_t>(row[x])] : kAbsent;
        if (slot >= 0)
          tiles[static_cast<size_t>(x / 8) * slots + static_cast<size_t>(slot)] |= uint64_t{1} << (y % 8 * 8 + x % 8);
      }
    }
  for (size_t i = 0; i < image.words.size(); ++i) image.areas[i % slots] += std::popcount(image.words[i]);
  return image;
}

}  // namespace netdissect
