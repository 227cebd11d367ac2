// What every version of the kernel gets, and what has stayed the same from version to version: the look for crops.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

// Axis letters: N images, U units, C concepts, H×W activation grid, Y×X label grid.
struct Axis {  // label pixel p lies between features i0[p] and i1[p], with weight f[p] on i1; padded to 16 pixels
  int64_t pixels, features;
  const int32_t* i0;
  const int32_t* i1;
  const float* f;
};

struct Job {
  int64_t images, units, concepts, categories;
  const float* maps;        // [N, U, H, W]
  const float* thresholds;  // [U]
  Axis y, x;
  const int64_t* slot_start;    // [N+1]
  const int32_t* slot_concept;  // column, -1 = padding to a multiple of 8 slots
  const int64_t* word_start;    // [N+1]
  const uint64_t* words;        // per image [tiles, slots]; bit 8·y + x of a word is pixel (y, x) of an 8×8 tile
  const int64_t* whole_start;   // [N+1]
  const int32_t* whole;         // columns of whole-image concepts
  const uint8_t* present;       // [N, categories]
  int64_t* intersection;        // [U, C], added to
  int64_t* unit_area;           // [U, categories], added to
};

// keep with the thresholds as bounds, then count: the function that every version exports.
extern "C" void keep_and_count(const Job* job);

struct Box {  // rows y .. y+height-1, columns x .. x+width-1; height 0 = nothing above the bound
  int32_t y, x, height, width;
};

struct Crop {
  int32_t image, unit;
  Box box;
  size_t start;  // of its values, row by row
};

struct Crops {
  std::vector<Crop> crops;
  std::vector<float> values;
};

// Values below 2^-72 count as zero, so above 0 means at least 2^-72.
inline constexpr float kLargestFlushed = 0x1.fffffep-73f;

// Bounding box, dilated by one, of what exceeds the bound.
inline Box dilated_box(const float* map, int32_t height, int32_t width, float bound) {
  int32_t top = height, bottom = -1, left = width, right = -1;
  for (int32_t y = 0; y < height; ++y) {
    const float* row = map + y * width;
    int32_t first = 0, last = width - 1;
    while (first < width && !(row[first] > bound)) ++first;
    if (first == width) continue;
    while (!(row[last] > bound)) --last;
    if (top == height) top = y;
    bottom = y;
    if (first < left) left = first;
    if (last > right) right = last;
  }
  if (bottom < 0) return {0, 0, 0, 0};
  top -= top > 0, left -= left > 0;
  bottom += bottom < height - 1, right += right < width - 1;
  return {top, left, bottom - top + 1, right - left + 1};
}

// Every map is scanned once, without branches (a NaN or an infinity is noticed); active ones give a crop.
inline Crops keep(const Job& job) {
  Crops kept;
  const int64_t size = job.y.features * job.x.features;
  for (int64_t i = 0; i < job.images * job.units; ++i) {
    const float* map = job.maps + i * size;
    const float threshold = job.thresholds[i % job.units];
    const float bound = threshold == 0.0f ? kLargestFlushed : threshold;
    int32_t above = 0, strange = 0;
    for (int64_t k = 0; k < size; ++k) {
      above |= map[k] > bound;
      strange |= !(map[k] - map[k] == 0.0f);
    }
    if (strange) return {};
    if (!above) continue;
    const Box box = dilated_box(map, static_cast<int32_t>(job.y.features), static_cast<int32_t>(job.x.features), bound);
    kept.crops.push_back(
        {static_cast<int32_t>(i / job.units), static_cast<int32_t>(i % job.units), box, kept.values.size()});
    for (int32_t y = box.y; y < box.y + box.height; ++y)
      for (int32_t x = box.x; x < box.x + box.width; ++x) {
        const float value = map[y * job.x.features + x];
        kept.values.push_back(value < 0x1p-72f && value > -0x1p-72f ? 0.0f : value);
      }
  }
  return kept;
}

// Adds one crop's sums where they belong.
inline void add_sums(const Job& job, const Crop& crop, const int64_t* count, int64_t area) {
  const int64_t image = crop.image, slots = job.slot_start[image + 1] - job.slot_start[image];
  int64_t* intersection = job.intersection + crop.unit * job.concepts;
  for (int64_t s = 0; s < slots; ++s) {
    const int32_t column = job.slot_concept[job.slot_start[image] + s];
    if (column >= 0) intersection[column] += count[s];
  }
  for (int64_t i = job.whole_start[image]; i < job.whole_start[image + 1]; ++i) intersection[job.whole[i]] += area;
  for (int64_t c = 0; c < job.categories; ++c)
    if (job.present[image * job.categories + c]) job.unit_area[crop.unit * job.categories + c] += area;
}
