// x86-64 with AVX2 (Haswell, Zen and later).
#include <immintrin.h>

#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

#include "cpu/plain-inl.h"

struct Simd : Plain<Simd> {
  static constexpr int64_t kLanes = 8;
  using Float = __m256;
  static Float set(float value) { return _mm256_set1_ps(value); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float value) { _mm256_storeu_ps(p, value); }
  static __m256i first_lanes(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lane);
  }
  static Float load_some(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  static Float if_greater(Float a, Float b, Float value) {
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), value);
  }
  static uint32_t greater(Float a, Float b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
  }
  static bool any_nonzero(Float value) {
    return _mm256_movemask_ps(_mm256_cmp_ps(value, _mm256_setzero_ps(), _CMP_NEQ_UQ)) != 0;
  }
  using Index = __m256i;
  static Index index(const int32_t* feature, int32_t first, int32_t size) {
    const __m256i from =
        _mm256_sub_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(feature)), _mm256_set1_epi32(first));
    return _mm256_min_epi32(_mm256_max_epi32(from, _mm256_setzero_si256()), _mm256_set1_epi32(size - 1));
  }
  struct Row {
    const float* p;
    __m256 head;
    bool narrow;
  };
  static Row row(const float* p, int64_t size) { return {p, load_some(p, size), size <= kLanes}; }
  static Float pick(const Row& row, Index i) {
    return row.narrow ? _mm256_permutevar8x32_ps(row.head, i) : _mm256_i32gather_ps(row.p, i, 4);
  }
  static void add_bits(uint8_t* bytes, int64_t i, uint32_t bits) { bytes[i / 8] = static_cast<uint8_t>(bits); }
  static int64_t popcount(uint64_t word) { return _mm_popcnt_u64(word); }
  template <int64_t kBlocks>
  static void count_bits(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words,
                         int64_t slots, int64_t* count) {
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

const netdissect::Kernels netdissect::kAvx2 = {"avx2", keep, count, masks, shrink, count_above, gather_above};
