// Version 1: every pixel of an active map is interpolated, in plain C++; its mask, as words of 8×8 pixels, is ANDed
// with the words of every concept.
#include "job.h"

extern "C" void keep_and_count(const Job* given) {
  const Job& job = *given;
  const Crops kept = keep(job);
  const int64_t width = job.x.features, tiles_x = (job.x.pixels + 7) / 8, tiles = (job.y.pixels + 7) / 8 * tiles_x;
  std::vector<float> map(static_cast<size_t>(job.y.features * width));
  std::vector<uint64_t> mask(static_cast<size_t>(tiles));
  std::vector<int64_t> count;
  for (const Crop& crop : kept.crops) {
    const float t = job.thresholds[crop.unit];
    map.assign(map.size(), t);  // outside the crop nothing is above T
    for (int64_t y = 0; y < crop.box.height; ++y)
      std::memcpy(&map[static_cast<size_t>((crop.box.y + y) * width + crop.box.x)],
                  &kept.values[crop.start + static_cast<size_t>(y * crop.box.width)],
                  static_cast<size_t>(crop.box.width) * sizeof(float));
    mask.assign(mask.size(), 0);
    int64_t area = 0;
    for (int64_t y = 0; y < job.y.pixels; ++y) {
      const float* above = &map[static_cast<size_t>(job.y.i0[y] * width)];
      const float* below = &map[static_cast<size_t>(job.y.i1[y] * width)];
      for (int64_t x = 0; x < job.x.pixels; ++x) {
        const float a = above[job.x.i0[x]], b = above[job.x.i1[x]], c = below[job.x.i0[x]], d = below[job.x.i1[x]];
        const float top = a + job.x.f[x] * (b - a), bottom = c + job.x.f[x] * (d - c);
        const float value = top + job.y.f[y] * (bottom - top);
        const bool corner = (a > t) | (b > t) | (c > t) | (d > t);
        const uint64_t on = (value > t) & corner;
        mask[static_cast<size_t>(y / 8 * tiles_x + x / 8)] |= on << (y % 8 * 8 + x % 8);
        area += static_cast<int64_t>(on);
      }
    }
    const int64_t slots = job.slot_start[crop.image + 1] - job.slot_start[crop.image];
    count.assign(static_cast<size_t>(slots), 0);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const uint64_t* words = job.words + job.word_start[crop.image] + tile * slots;
      if (const uint64_t word = mask[static_cast<size_t>(tile)])
        for (int64_t s = 0; s < slots; ++s) count[static_cast<size_t>(s)] += __builtin_popcountll(word & words[s]);
    }
    add_sums(job, crop, count.data(), area);
  }
}
