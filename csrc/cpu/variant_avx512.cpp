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
  static int64_t popcount(uint64_t word) { return _mm_popcnt_u64(word); }
  static void tally(uint64_t word, const uint64_t* concepts, int64_t slots, int64_t* count) {
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(word));
    for (int64_t slot = 0; slot < slots; slot += 8) {
      const __m512i both = _mm512_and_si512(mask, _mm512_loadu_si512(concepts + slot));
      _mm512_storeu_si512(count + slot, _mm512_add_epi64(_mm512_loadu_si512(count + slot), _mm512_popcnt_epi64(both)));
    }
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kAvx512 = {"avx512", keep, count};
