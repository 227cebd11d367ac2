// Version 2: only the pixels of the crop, row of tiles by row of tiles. The crop's rows are interpolated along x once,
// 16 pixels an instruction; groups of 16 pixels without a sample above T beside them are skipped; a mask word is
// compared with 8 concepts an instruction, sums in memory.
#include <immintrin.h>

#include <algorithm>

#include "job.h"

namespace {

constexpr int64_t kGroup = 16, kTile = 8;

__m512 lerp(__m512 a, __m512 b, __m512 f) { return _mm512_add_ps(a, _mm512_mul_ps(f, _mm512_sub_ps(b, a))); }

uint32_t greater(__m512 a, __m512 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }

struct Span {  // label pixels [begin, end) that lie between samples of the crop
  int64_t begin, end;
};

Span span(const Axis& axis, int32_t first, int32_t size) {
  return {std::lower_bound(axis.i0, axis.i0 + axis.pixels, first) - axis.i0,
          std::upper_bound(axis.i1, axis.i1 + axis.pixels, first + size - 1) - axis.i1};
}

struct Kernel {
  const Job& job;
  int64_t groups = (job.x.pixels + kGroup - 1) / kGroup, tiles_x = (job.x.pixels + kTile - 1) / kTile;
  std::vector<float> rows = std::vector<float>(static_cast<size_t>(job.y.features * groups * kGroup));
  std::vector<uint16_t> corner = std::vector<uint16_t>(static_cast<size_t>(job.y.features * groups));
  std::vector<uint64_t> mask = std::vector<uint64_t>(static_cast<size_t>(2 * groups));
  std::vector<int32_t> index0 = std::vector<int32_t>(static_cast<size_t>(groups * kGroup)), index1 = index0;
  std::vector<int64_t> count{};

  void interpolate_rows(const Crop& crop, const float* values, Span px, __m512 t) {
    const int64_t first = px.begin / kGroup, last = (px.end + kGroup - 1) / kGroup;
    const Box& box = crop.box;
    for (int64_t p = first * kGroup; p < last * kGroup; ++p) {
      index0[static_cast<size_t>(p)] = std::clamp(job.x.i0[p] - box.x, 0, box.width - 1);
      index1[static_cast<size_t>(p)] = std::clamp(job.x.i1[p] - box.x, 0, box.width - 1);
    }
    for (int64_t r = 0; r < box.height; ++r) {
      const float* row = values + r * box.width;
      const bool narrow = box.width <= kGroup;
      const __m512 head = _mm512_maskz_loadu_ps(static_cast<__mmask16>(narrow ? (1u << box.width) - 1 : 0xffff), row);
      for (int64_t g = first; g < last; ++g) {
        const __m512i i = _mm512_loadu_si512(&index0[static_cast<size_t>(g * kGroup)]);
        const __m512i j = _mm512_loadu_si512(&index1[static_cast<size_t>(g * kGroup)]);
        const __m512 a = narrow ? _mm512_permutexvar_ps(i, head) : _mm512_i32gather_ps(i, row, 4);
        const __m512 b = narrow ? _mm512_permutexvar_ps(j, head) : _mm512_i32gather_ps(j, row, 4);
        _mm512_storeu_ps(&rows[static_cast<size_t>((r * groups + g) * kGroup)],
                         lerp(a, b, _mm512_loadu_ps(job.x.f + g * kGroup)));
        uint32_t inside = 0xffff;
        if (g * kGroup < px.begin) inside &= 0xffffu << (px.begin - g * kGroup);
        if ((g + 1) * kGroup > px.end) inside &= 0xffffu >> ((g + 1) * kGroup - px.end);
        corner[static_cast<size_t>(r * groups + g)] = static_cast<uint16_t>((greater(a, t) | greater(b, t)) & inside);
      }
    }
  }

  void mask_tiles(const Crop& crop, Span px, Span py, int64_t tile_row, __m512 t) {
    const int64_t first = px.begin / kGroup, last = (px.end + kGroup - 1) / kGroup;
    std::fill(mask.begin() + 2 * first, mask.begin() + 2 * last, 0);
    for (int64_t y = std::max(tile_row * kTile, py.begin); y < std::min((tile_row + 1) * kTile, py.end); ++y) {
      const int64_t top = job.y.i0[y] - crop.box.y, bottom = job.y.i1[y] - crop.box.y;
      for (int64_t g = first; g < last; ++g) {
        const auto above = static_cast<size_t>(top * groups + g), below = static_cast<size_t>(bottom * groups + g);
        const uint32_t near = corner[above] | corner[below];
        if (!near) continue;
        const __m512 a = _mm512_loadu_ps(&rows[above * kGroup]), b = _mm512_loadu_ps(&rows[below * kGroup]);
        const uint64_t bits = near & greater(lerp(a, b, _mm512_set1_ps(job.y.f[y])), t);
        mask[static_cast<size_t>(2 * g)] |= (bits & 0xff) << (kTile * (y % kTile));
        mask[static_cast<size_t>(2 * g + 1)] |= (bits >> 8) << (kTile * (y % kTile));
      }
    }
  }

  void tally(uint64_t word, const uint64_t* concepts) {
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(word));
    for (size_t slot = 0; slot < count.size(); slot += 8) {
      const __m512i both = _mm512_and_si512(mask, _mm512_loadu_si512(concepts + slot));
      _mm512_storeu_si512(&count[slot], _mm512_add_epi64(_mm512_loadu_si512(&count[slot]), _mm512_popcnt_epi64(both)));
    }
  }

  void count_crop(const Crop& crop, const float* values) {
    const __m512 t = _mm512_set1_ps(job.thresholds[crop.unit]);
    const Span px = span(job.x, crop.box.x, crop.box.width), py = span(job.y, crop.box.y, crop.box.height);
    if (px.begin >= px.end || py.begin >= py.end) return;
    interpolate_rows(crop, values, px, t);
    const int64_t slots = job.slot_start[crop.image + 1] - job.slot_start[crop.image];
    const uint64_t* words = job.words + job.word_start[crop.image];
    count.assign(static_cast<size_t>(slots), 0);
    int64_t area = 0;
    for (int64_t ty = py.begin / kTile; ty * kTile < py.end; ++ty) {
      mask_tiles(crop, px, py, ty, t);
      for (int64_t tx = px.begin / kTile; tx * kTile < px.end; ++tx)
        if (const uint64_t word = mask[static_cast<size_t>(tx)]) {
          area += __builtin_popcountll(word);
          tally(word, words + (ty * tiles_x + tx) * slots);
        }
    }
    if (area) add_sums(job, crop, count.data(), area);
  }
};

}  // namespace

extern "C" void keep_and_count(const Job* job) {
  const Crops kept = keep(*job);
  Kernel kernel{*job};
  for (const Crop& crop : kept.crops) kernel.count_crop(crop, kept.values.data() + crop.start);
}
