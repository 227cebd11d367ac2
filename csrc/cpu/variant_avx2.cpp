// x86-64 with AVX2 (Haswell, Zen and later).
#include <immintrin.h>

#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

struct Simd {
  static constexpr int64_t kLanes = 8;
  using Float = __m256;
  static Float set(float value) { return _mm256_set1_ps(value); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float value) { _mm256_storeu_ps(p, value); }
  struct Row {
    const float* p;
    __m256 head;
    bool narrow;
  };
  static Row row(const float* p, int64_t width) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(width)), lane);
    return {p, _mm256_maskload_ps(p, there), width <= kLanes};
  }
  static Float pick(const Row& row, const int32_t* index) {
    const __m256i i = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(index));
    return row.narrow ? _mm256_permutevar8x32_ps(row.head, i) : _mm256_i32gather_ps(row.p, i, 4);
  }
  static Float lerp(Float a, Float b, Float f) { return _mm256_add_ps(a, _mm256_mul_ps(f, _mm256_sub_ps(b, a))); }
  static uint32_t greater(Float a, Float b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }
  static uint64_t tile(const float* const* low, const float* const* high, int64_t x, const float* weights, Float bar) {
    uint64_t word = 0;
    for (int64_t r = 0; r < 8; ++r)
      word |= static_cast<uint64_t>(greater(lerp(load(low[r] + x), load(high[r] + x), load(weights + 8 * r)), bar))
              << (8 * r);
    return word;
  }
  static int64_t popcount(uint64_t word) { return _mm_popcnt_u64(word); }
  template <int64_t kBlocks>
  static void tally(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words, int64_t slots,
                    int64_t* count) {
    // Bits of each half byte by table look-up, then summed within 64-bit lanes.
    const __m256i bits = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                          2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(15);
    __m256i sum[2 * kBlocks];
    for (auto& s : sum) s = _mm256_setzero_si256();
    for (int64_t i = 0; i < items; ++i) {
      const __m256i mask = _mm256_set1_epi64x(static_cast<long long>(masks[i]));
      const uint64_t* tile = words + tiles[i] * slots;
      for (int64_t b = 0; b < 2 * kBlocks; ++b) {
        const __m256i both = _mm256_and_si256(mask, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile + 4 * b)));
        const __m256i per_byte =
            _mm256_add_epi8(_mm256_shuffle_epi8(bits, _mm256_and_si256(both, low)),
                            _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(both, 4), low)));
        sum[b] = _mm256_add_epi64(sum[b], _mm256_sad_epu8(per_byte, _mm256_setzero_si256()));
      }
    }
    for (int64_t b = 0; b < 2 * kBlocks; ++b) _mm256_storeu_si256(reinterpret_cast<__m256i*>(count + 4 * b), sum[b]);
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kAvx2 = {"avx2", keep, count};
