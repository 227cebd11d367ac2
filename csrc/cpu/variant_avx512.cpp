// x86-64 with AVX-512 and its 64-bit population count (Ice Lake, Zen 4 and later).
#include <immintrin.h>

#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

struct Simd {
  static constexpr int64_t kLanes = 16;
  using Float = __m512;
  static Float set(float value) { return _mm512_set1_ps(value); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float value) { _mm512_storeu_ps(p, value); }
  struct Row {
    const float* p;
    __m512 head;
    bool narrow;
  };
  static Row row(const float* p, int64_t width) {
    const uint32_t there = width >= kLanes ? 0xffffu : (1u << width) - 1;
    return {p, _mm512_maskz_loadu_ps(static_cast<__mmask16>(there), p), width <= kLanes};
  }
  static Float pick(const Row& row, const int32_t* index) {
    const __m512i i = _mm512_loadu_si512(index);
    return row.narrow ? _mm512_permutexvar_ps(i, row.head) : _mm512_i32gather_ps(i, row.p, 4);
  }
  static Float lerp(Float a, Float b, Float f) { return _mm512_add_ps(a, _mm512_mul_ps(f, _mm512_sub_ps(b, a))); }
  static uint32_t greater(Float a, Float b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static __m512 two_rows(const float* first, const float* second) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(first)), _mm256_loadu_ps(second), 1);
  }
  static uint64_t tile(const float* const* low, const float* const* high, int64_t x, const float* weights, Float bar) {
    __mmask16 pair[4];
    for (int64_t i = 0; i < 4; ++i) {
      const __m512 a = two_rows(low[2 * i] + x, low[2 * i + 1] + x), b = two_rows(high[2 * i] + x, high[2 * i + 1] + x);
      pair[i] = _mm512_cmp_ps_mask(lerp(a, b, _mm512_loadu_ps(weights + 16 * i)), bar, _CMP_GT_OQ);
    }
    return _mm512_kunpackd(_mm512_kunpackw(pair[3], pair[2]), _mm512_kunpackw(pair[1], pair[0]));
  }
  static int64_t popcount(uint64_t word) { return _mm_popcnt_u64(word); }
  template <int64_t kBlocks>
  static void tally(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words, int64_t slots,
                    int64_t* count) {
    __m512i sum[kBlocks];
    for (auto& s : sum) s = _mm512_setzero_si512();
    for (int64_t i = 0; i < items; ++i) {
      const __m512i mask = _mm512_set1_epi64(static_cast<long long>(masks[i]));
      const uint64_t* tile = words + tiles[i] * slots;
      for (int64_t b = 0; b < kBlocks; ++b)
        sum[b] =
            _mm512_add_epi64(sum[b], _mm512_popcnt_epi64(_mm512_and_si512(mask, _mm512_loadu_si512(tile + 8 * b))));
    }
    for (int64_t b = 0; b < kBlocks; ++b) _mm512_storeu_si512(count + 8 * b, sum[b]);
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kAvx512 = {"avx512", keep, count};
