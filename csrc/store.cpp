#include "store.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "parallel.h"

namespace netdissect {
namespace {

// Rows and columns of the crop that exceed the bound, dilated by one but never beyond the crop: what lay outside it is
// at most the old, lower bound. Height 0 where nothing does.
Box shrunk(const float* crop, const Box& old, float bound) {
  int top = old.height, bottom = -1, left = old.width, right = -1;
  for (int y = 0; y < old.height; ++y) {
    const float* row = crop + y * old.width;
    int first = 0, last = old.width - 1;
    while (first <= last && !(row[first] > bound)) ++first;
    if (first > last) continue;
    while (!(row[last] > bound)) --last;
    top = std::min(top, y);
    bottom = y;
    left = std::min(left, first);
    right = std::max(right, last);
  }
  if (bottom < 0) return {0, 0, 0, 0};
  top = std::max(top - 1, 0);
  left = std::max(left - 1, 0);
  bottom = std::min(bottom + 1, old.height - 1);
  right = std::min(right + 1, old.width - 1);
  return {static_cast<uint16_t>(old.y + top), static_cast<uint16_t>(old.x + left),
          static_cast<uint16_t>(bottom - top + 1), static_cast<uint16_t>(right - left + 1)};
}

std::vector<int64_t> starts(int64_t crops, const Box* box) {
  std::vector<int64_t> start(static_cast<size_t>(crops) + 1, 0);
  for (int64_t i = 0; i < crops; ++i)
    start[static_cast<size_t>(i) + 1] =
        start[static_cast<size_t>(i)] + static_cast<int64_t>(box[i].height) * box[i].width;
  return start;
}

bool any_above(const float* values, int64_t size, float bound) {
  int32_t above = 0;
  for (int64_t i = 0; i < size; ++i) above |= values[i] > bound;
  return above != 0;
}

}  // namespace

StoreSize prune(int64_t crops, int32_t* image, int32_t* unit, Box* box, float* values, const float* bounds,
                int64_t threads) {
  const std::vector<int64_t> start = starts(crops, box);
  std::vector<Box> now(static_cast<size_t>(crops));
  parallel_ranges(crops, threads, [&](int64_t first, int64_t last, int64_t) {
    for (int64_t i = first; i < last; ++i) {
      const auto c = static_cast<size_t>(i);
      const bool above = any_above(values + start[c], start[c + 1] - start[c], bounds[unit[i]]);
      now[c] = above ? shrunk(values + start[c], box[i], bounds[unit[i]]) : Box{0, 0, 0, 0};
    }
  });
  int64_t kept = 0;
  float* to = values;
  for (int64_t i = 0; i < crops; ++i) {  // in place: never ahead of what is still to be read
    const Box old = box[i], small = now[static_cast<size_t>(i)];
    const float* row = values + start[static_cast<size_t>(i)] + (small.y - old.y) * old.width + (small.x - old.x);
    for (int y = 0; y < small.height; ++y, row += old.width, to += small.width)
      std::memmove(to, row, sizeof(float) * small.width);
    if (!small.height) continue;
    image[kept] = image[i];
    unit[kept] = unit[i];
    box[kept++] = small;
  }
  return {kept, to - values};
}

void kth_largest(int64_t crops, const int32_t* unit, const Box* box, const float* values, int64_t units,
                 const float* bounds, int64_t rank, int64_t threads, float* result) {
  // Each part of the crops counts its values above the bounds, unit by unit; then all know where theirs go.
  const std::vector<int64_t> start = starts(crops, box);
  const auto parts = static_cast<size_t>(std::max<int64_t>(1, std::min(threads, crops)));
  const auto count = static_cast<size_t>(units);
  std::vector<int64_t> place(parts * count, 0), end(count, 0);
  parallel_ranges(crops, threads, [&](int64_t first, int64_t last, int64_t part) {
    int64_t* mine = place.data() + static_cast<size_t>(part) * count;
    for (int64_t i = first; i < last; ++i) {
      const float bound = bounds[unit[i]];
      int32_t above = 0;
      for (int64_t v = start[static_cast<size_t>(i)]; v < start[static_cast<size_t>(i) + 1]; ++v)
        above += values[v] > bound;
      mine[unit[i]] += above;
    }
  });
  int64_t total = 0;
  for (size_t u = 0; u < count; ++u) {
    for (size_t part = 0; part < parts; ++part) total += std::exchange(place[part * count + u], total);
    end[u] = total;
  }
  std::vector<float> tails(static_cast<size_t>(total));
  parallel_ranges(crops, threads, [&](int64_t first, int64_t last, int64_t part) {
    int64_t* mine = place.data() + static_cast<size_t>(part) * count;
    for (int64_t i = first; i < last; ++i) {
      const float bound = bounds[unit[i]];
      for (int64_t v = start[static_cast<size_t>(i)]; v < start[static_cast<size_t>(i) + 1]; ++v)
        if (values[v] > bound) tails[static_cast<size_t>(mine[unit[i]]++)] = values[v];
    }
  });
  parallel_ranges(units, threads, [&](int64_t first, int64_t last, int64_t) {
    for (int64_t u = first; u < last; ++u) {
      float* tail = tails.data() + (u ? end[static_cast<size_t>(u) - 1] : 0);
      float* tail_end = tails.data() + end[static_cast<size_t>(u)];
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
