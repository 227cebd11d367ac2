#include "store.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "parallel.h"

namespace netdissect {
namespace {

constexpr float kSmallest = 0x1p-72f;

float flush(float value) { return std::fabs(value) < kSmallest ? 0.0f : value; }

float half_to_float(uint16_t half) {
  const int exponent = (half >> 10) & 31, mantissa = half & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                           : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

float value_at(const Maps& maps, int64_t index) {
  if (maps.dtype == Dtype::kFloat32) return static_cast<const float*>(maps.data)[index];
  const uint16_t bits = static_cast<const uint16_t*>(maps.data)[index];
  return maps.dtype == Dtype::kFloat16 ? half_to_float(bits) : std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace

void copy_crop(const Maps& maps, int64_t image, int64_t unit, const Box& box, float* to) {
  const int64_t origin = image * maps.image_stride + unit * maps.unit_stride;
  for (int64_t y = box.y; y < box.y + box.height; ++y)
    for (int64_t x = box.x; x < box.x + box.width; ++x)
      *to++ = flush(value_at(maps, origin + y * maps.row_stride + x * maps.column_stride));
}

StoreSize prune(int64_t crops, int32_t* image, int32_t* unit, Box* box, float* values, const float* bounds) {
  int64_t kept = 0;
  const float* from = values;
  float* to = values;
  for (int64_t i = 0; i < crops; ++i) {
    const Box old = box[i];
    const float bound = bounds[unit[i]];
    const float* crop = from;
    from += static_cast<int64_t>(old.height) * old.width;
    int top = old.height, bottom = -1, left = old.width, right = -1;
    for (int y = 0; y < old.height; ++y)
      for (int x = 0; x < old.width; ++x)
        if (crop[y * old.width + x] > bound) {
          top = std::min(top, y);
          bottom = y;
          left = std::min(left, x);
          right = std::max(right, x);
        }
    if (bottom < 0) continue;
    // Dilated by one, but never beyond the old box: what lay outside it is at most the old, lower bound.
    top = std::max(top - 1, 0);
    left = std::max(left - 1, 0);
    bottom = std::min(bottom + 1, old.height - 1);
    right = std::min(right + 1, old.width - 1);
    const int height = bottom - top + 1, width = right - left + 1;
    for (int y = 0; y < height; ++y) {  // never ahead of what is still to be read
      std::memmove(to, crop + (top + y) * old.width + left, sizeof(float) * static_cast<size_t>(width));
      to += width;
    }
    image[kept] = image[i];
    unit[kept] = unit[i];
    box[kept] = Box{static_cast<uint16_t>(old.y + top), static_cast<uint16_t>(old.x + left),
                    static_cast<uint16_t>(height), static_cast<uint16_t>(width)};
    ++kept;
  }
  return {kept, to - values};
}

void kth_largest(int64_t crops, const int32_t* unit, const Box* box, const float* values, int64_t units,
                 const float* bounds, int64_t rank, int64_t threads, float* result) {
  auto each_above = [&](auto&& visit) {
    const float* value = values;
    for (int64_t i = 0; i < crops; ++i) {
      const float bound = bounds[unit[i]];
      for (const float* end = value + static_cast<int64_t>(box[i].height) * box[i].width; value < end; ++value)
        if (*value > bound) visit(static_cast<size_t>(unit[i]), *value);
    }
  };
  std::vector<int64_t> end(static_cast<size_t>(units) + 1, 0);
  each_above([&](size_t u, float) { ++end[u + 1]; });
  for (size_t u = 0; u < static_cast<size_t>(units); ++u) end[u + 1] += end[u];
  std::vector<float> tails(static_cast<size_t>(end.back()));
  std::vector<int64_t> next(end.begin(), end.end() - 1);
  each_above([&](size_t u, float value) { tails[static_cast<size_t>(next[u]++)] = value; });
  parallel_ranges(units, threads, [&](int64_t first, int64_t last, int64_t) {
    for (int64_t u = first; u < last; ++u) {
      float* tail = tails.data() + end[static_cast<size_t>(u)];
      float* tail_end = tails.data() + end[static_cast<size_t>(u) + 1];
      if (tail_end - tail < rank) {
        result[u] = bounds[u];
        continue;
      }
      std::nth_element(tail, tail + rank - 1, tail_end, std::greater<>());
      result[u] = tail[rank - 1];
    }
  });
}

}  // namespace netdissect
