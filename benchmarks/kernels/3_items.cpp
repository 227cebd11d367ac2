// Version 3: a compact list of tiles with a sample above T beside one of their pixels; then two loops without branches,
// the mask word of every tile on the list and its popcounts, 8 concepts an instruction, sums in registers.
#include <immintrin.h>

#include <algorithm>

#include "job.h"

namespace {

constexpr int64_t kGroup = 16, kTile = 8, kMostBlocks = 4;

__m512 lerp(__m512 a, __m512 b, __m512 f) { return _mm512_add_ps(a, _mm512_mul_ps(f, _mm512_sub_ps(b, a))); }

uint32_t greater(__m512 a, __m512 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }

__m512 two_rows(const float* first, const float* second) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(first)), _mm256_loadu_ps(second), 1);
}

uint64_t eightfold(uint32_t byte) { return byte * 0x0101010101010101u; }

struct Span {  // label pixels [begin, end) that lie between samples of the crop
  int64_t begin, end;
};

Span span(const Axis& axis, int32_t first, int32_t size) {
  return {std::lower_bound(axis.i0, axis.i0 + axis.pixels, first) - axis.i0,
          std::upper_bound(axis.i1, axis.i1 + axis.pixels, first + size - 1) - axis.i1};
}

template <int64_t kBlocks>
void tally(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words, int64_t slots,
           int64_t* count) {
  __m512i sum[kBlocks];
  for (auto& s : sum) s = _mm512_setzero_si512();
  for (int64_t i = 0; i < items; ++i) {
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(masks[i]));
    const uint64_t* tile = words + tiles[i] * slots;
    for (int64_t b = 0; b < kBlocks; ++b)
      sum[b] = _mm512_add_epi64(sum[b], _mm512_popcnt_epi64(_mm512_and_si512(mask, _mm512_loadu_si512(tile + 8 * b))));
  }
  for (int64_t b = 0; b < kBlocks; ++b) _mm512_storeu_si512(count + 8 * b, sum[b]);
}

struct Kernel {
  const Job& job;
  int64_t groups = (job.x.pixels + kGroup - 1) / kGroup, tiles_x = (job.x.pixels + kTile - 1) / kTile;
  int64_t width = groups * kGroup, tile_rows = (job.y.pixels + kTile - 1) / kTile;
  std::vector<float> rows = std::vector<float>(static_cast<size_t>(job.y.features * width)), weights{};
  std::vector<uint64_t> corner = std::vector<uint64_t>(static_cast<size_t>(job.y.features * 2 * groups));
  std::vector<uint64_t> beside = std::vector<uint64_t>(static_cast<size_t>(2 * groups));
  std::vector<int32_t> index0 = std::vector<int32_t>(static_cast<size_t>(width)), index1 = index0;
  std::vector<int32_t> item = std::vector<int32_t>(static_cast<size_t>(tile_rows * tiles_x + 1));
  std::vector<uint64_t> mask = std::vector<uint64_t>(item.size());
  std::vector<int64_t> count{};

  explicit Kernel(const Job& given) : job(given) {
    for (int64_t y = 0; y < tile_rows * kTile; ++y) weights.insert(weights.end(), 8, job.y.f[y]);
  }

  // The crop's rows interpolated along x; and, eightfold, a bit for every pixel with a sample above T beside it.
  void interpolate_rows(const Box& box, const float* values, Span px, __m512 t) {
    const int64_t first = px.begin / kGroup, last = (px.end + kGroup - 1) / kGroup;
    int32_t* i0 = index0.data();
    int32_t* i1 = index1.data();
    for (int64_t p = first * kGroup; p < last * kGroup; ++p) {
      i0[p] = std::clamp(job.x.i0[p] - box.x, 0, box.width - 1);
      i1[p] = std::clamp(job.x.i1[p] - box.x, 0, box.width - 1);
    }
    for (int64_t r = 0; r < box.height; ++r) {
      const float* row = values + r * box.width;
      const bool narrow = box.width <= kGroup;
      const __m512 head = _mm512_maskz_loadu_ps(static_cast<__mmask16>(narrow ? (1u << box.width) - 1 : 0xffff), row);
      for (int64_t g = first; g < last; ++g) {
        const __m512i i = _mm512_loadu_si512(i0 + g * kGroup), j = _mm512_loadu_si512(i1 + g * kGroup);
        const __m512 a = narrow ? _mm512_permutexvar_ps(i, head) : _mm512_i32gather_ps(i, row, 4);
        const __m512 b = narrow ? _mm512_permutexvar_ps(j, head) : _mm512_i32gather_ps(j, row, 4);
        _mm512_storeu_ps(rows.data() + r * width + g * kGroup, lerp(a, b, _mm512_loadu_ps(job.x.f + g * kGroup)));
        uint32_t bits = greater(a, t) | greater(b, t);
        if (g * kGroup < px.begin) bits &= 0xffffu << (px.begin - g * kGroup);
        if ((g + 1) * kGroup > px.end) bits &= 0xffffu >> ((g + 1) * kGroup - px.end);
        corner[static_cast<size_t>(2 * (r * groups + g))] = eightfold(bits & 0xff);
        corner[static_cast<size_t>(2 * (r * groups + g) + 1)] = eightfold(bits >> 8 & 0xff);
      }
    }
  }

  // One row of tiles: adds its items, and their masks, to the list; gives the list's new length.
  int64_t add_items(const Box& box, Span px, int64_t tile_row, int64_t items, __m512 t) {
    const int64_t first = px.begin / kTile, last = (px.end + kTile - 1) / kTile;
    std::fill(beside.begin() + first, beside.begin() + last, 0);
    const float* low[kTile];
    const float* high[kTile];
    for (int64_t i = 0; i < kTile; ++i) low[i] = high[i] = rows.data();  // rows that no pixel of the crop needs
    const int64_t end = std::min((tile_row + 1) * kTile, job.y.pixels);
    for (int64_t y = tile_row * kTile; y < end;) {
      const int64_t a = job.y.i0[y] - box.y, b = job.y.i1[y] - box.y;
      uint64_t same = 0;  // the rows of the tile between the same two samples
      for (const int64_t i0 = job.y.i0[y], i1 = job.y.i1[y]; y < end && job.y.i0[y] == i0 && job.y.i1[y] == i1; ++y) {
        same |= uint64_t{0xff} << (kTile * (y % kTile));
        if (a < 0 || b >= box.height) continue;
        low[y % kTile] = rows.data() + a * width;
        high[y % kTile] = rows.data() + b * width;
      }
      if (a < 0 || b >= box.height) continue;
      for (int64_t i = first; i < last; ++i)
        beside[static_cast<size_t>(i)] |=
            (corner[static_cast<size_t>(2 * a * groups + i)] | corner[static_cast<size_t>(2 * b * groups + i)]) & same;
    }
    const int64_t before = items;
    for (int64_t i = first; i < last; ++i) {
      item[static_cast<size_t>(items)] = static_cast<int32_t>(i);
      mask[static_cast<size_t>(items)] = beside[static_cast<size_t>(i)];
      items += beside[static_cast<size_t>(i)] != 0;
    }
    const float* f = weights.data() + tile_row * kTile * kTile;
    for (int64_t k = before; k < items; ++k) {
      int32_t& tile = item[static_cast<size_t>(k)];
      const int64_t x = tile * kTile;
      __mmask16 pair[4];
      for (int64_t i = 0; i < 4; ++i) {
        const __m512 a = two_rows(low[2 * i] + x, low[2 * i + 1] + x);
        const __m512 b = two_rows(high[2 * i] + x, high[2 * i + 1] + x);
        pair[i] = static_cast<__mmask16>(greater(lerp(a, b, _mm512_loadu_ps(f + 16 * i)), t));
      }
      mask[static_cast<size_t>(k)] &=
          _mm512_kunpackd(_mm512_kunpackw(pair[3], pair[2]), _mm512_kunpackw(pair[1], pair[0]));
      tile += static_cast<int32_t>(tile_row * tiles_x);
    }
    return items;
  }

  void count_crop(const Crop& crop, const float* values) {
    const __m512 t = _mm512_set1_ps(job.thresholds[crop.unit]);
    const Span px = span(job.x, crop.box.x, crop.box.width), py = span(job.y, crop.box.y, crop.box.height);
    if (px.begin >= px.end || py.begin >= py.end) return;
    const int64_t slots = job.slot_start[crop.image + 1] - job.slot_start[crop.image];
    for (int64_t s = job.slot_start[crop.image]; s < job.slot_start[crop.image + 1];
         ++s)  // long before they are needed
      if (job.slot_concept[s] >= 0)
        __builtin_prefetch(job.intersection + crop.unit * job.concepts + job.slot_concept[s], 1);
    interpolate_rows(crop.box, values, px, t);
    int64_t items = 0, area = 0;
    for (int64_t ty = py.begin / kTile; ty * kTile < py.end; ++ty) items = add_items(crop.box, px, ty, items, t);
    for (int64_t i = 0; i < items; ++i) area += __builtin_popcountll(mask[static_cast<size_t>(i)]);
    if (!area) return;
    count.resize(static_cast<size_t>(slots));
    const uint64_t* words = job.words + job.word_start[crop.image];
    constexpr decltype(&tally<1>) kTallies[] = {tally<1>, tally<2>, tally<3>, tally<4>};
    for (int64_t first = 0; first < slots; first += kMostBlocks * 8)
      kTallies[std::min(kMostBlocks, (slots - first) / 8) - 1](mask.data(), item.data(), items, words + first, slots,
                                                               count.data() + first);
    add_sums(job, crop, count.data(), area);
  }
};

}  // namespace

extern "C" void keep_and_count(const Job* job) {
  const Crops kept = keep(*job);
  Kernel kernel(*job);
  for (const Crop& crop : kept.crops) kernel.count_crop(crop, kept.values.data() + crop.start);
}
