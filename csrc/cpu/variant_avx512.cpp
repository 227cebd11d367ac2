// x86-64 with AVX-512 and its 64-bit population count (Ice Lake, Zen 4 and later).
#include <immintrin.h>

#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

#include "cpu/plain-inl.h"

struct Simd {
  static constexpr int64_t kLanes = 16;
  using Float = __m512;
  static Float set(float value) { return _mm512_set1_ps(value); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float value) { _mm512_storeu_ps(p, value); }
  static Float load_some(const float* p, int64_t n) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
  }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float if_greater(Float a, Float b, Float value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), value);
  }
  static uint32_t greater(Float a, Float b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static bool any_nonzero(Float value) { return _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_NEQ_UQ) != 0; }
  using Index = __m512i;
  static Index index(const int32_t* feature, int32_t first, int32_t size) {
    const __m512i from = _mm512_sub_epi32(_mm512_loadu_si512(feature), _mm512_set1_epi32(first));
    return _mm512_min_epi32(_mm512_max_epi32(from, _mm512_setzero_si512()), _mm512_set1_epi32(size - 1));
  }
  struct Row {
    const float* p;
    __m512 head;
    bool narrow;
  };
  static Row row(const float* p, int64_t width) {
    const uint32_t there = width >= kLanes ? 0xffffu : (1u << width) - 1;
    return {p, _mm512_maskz_loadu_ps(static_cast<__mmask16>(there), p), width <= kLanes};
  }
  static Float pick(const Row& row, Index i) {
    return row.narrow ? _mm512_permutexvar_ps(i, row.head) : _mm512_i32gather_ps(i, row.p, 4);
  }
  static __m512 twice(const float* p) { return _mm512_broadcast_f32x8(_mm256_loadu_ps(p)); }
  static __m512 two_rows(const float* first, const float* second) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(first)), _mm256_loadu_ps(second), 1);
  }
  template <int64_t kPairs>
  static uint64_t tile(const float* const* low, const float* const* high, int64_t x, const float* weights,
                       uint64_t second_pair, Float threshold) {
    __m512 a[4], d[4];
    if constexpr (kPairs <= 2) {
      a[0] = twice(low[0] + x), d[0] = sub(twice(high[0] + x), a[0]);
      for (int64_t i = 1; i < 4; ++i) a[i] = a[0], d[i] = d[0];
    }
    if constexpr (kPairs == 2) {
      const __m512 a2 = twice(low[1] + x), d2 = sub(twice(high[1] + x), a2);
      for (int64_t i = 0; i < 4; ++i) {
        const auto k = static_cast<__mmask16>(second_pair >> (16 * i));
        a[i] = _mm512_mask_mov_ps(a[i], k, a2), d[i] = _mm512_mask_mov_ps(d[i], k, d2);
      }
    }
    if constexpr (kPairs > 2)
      for (int64_t i = 0; i < 4; ++i) {
        a[i] = two_rows(low[2 * i] + x, low[2 * i + 1] + x);
        d[i] = sub(two_rows(high[2 * i] + x, high[2 * i + 1] + x), a[i]);
      }
    __mmask16 k[4];
    for (int64_t i = 0; i < 4; ++i) {
      k[i] = _mm512_cmp_ps_mask(add(a[i], mul(load(weights + 16 * i), d[i])), threshold, _CMP_GT_OQ);
    }
    return _mm512_kunpackd(_mm512_kunpackw(k[3], k[2]), _mm512_kunpackw(k[1], k[0]));
  }
  static void add_bits(uint8_t* bytes, int64_t i, uint32_t bits) {
    const auto two = static_cast<uint16_t>(bits);
    __builtin_memcpy(bytes + i / 8, &two, sizeof two);
  }
  static int64_t append_tiles(uint64_t tiles, int32_t first, int64_t items, int32_t* item) {
    const __m128i bytes = _mm_cvtsi64_si128(static_cast<long long>(tiles));
    const auto found = static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes));
    const __m256i tile = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(first));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(item + items), _mm256_maskz_compress_epi32(found, tile));
    return items + _mm_popcnt_u32(found);
  }
  static int64_t popcount(uint64_t word) { return _mm_popcnt_u64(word); }
  static int64_t store_only(float* to, uint32_t bits, const float* from) {
    const auto k = static_cast<__mmask16>(bits);
    const int64_t n = _mm_popcnt_u32(bits);
    const __m512 values = _mm512_maskz_compress_ps(k, _mm512_maskz_loadu_ps(k, from));
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << n) - 1), values);
    return n;
  }
  template <int64_t kBlocks>
  static void count_bits(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words,
                         int64_t slots, int64_t* count) {
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

const netdissect::Kernels netdissect::kAvx512 = {"avx512", keep, count, masks, shrink, count_above, gather_above};
