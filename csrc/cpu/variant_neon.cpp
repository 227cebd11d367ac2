// 64-bit Arm: NEON is always there.
#include <arm_neon.h>

#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

struct Simd {
  static constexpr int64_t kLanes = 4;
  using Float = float32x4_t;
  static Float set(float value) { return vdupq_n_f32(value); }
  static Float load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Float value) { vst1q_f32(p, value); }
  using Row = const float*;
  static Row row(const float* p, int64_t) { return p; }
  static Float pick(Row row, const int32_t* index) {
    const float lanes[kLanes] = {row[index[0]], row[index[1]], row[index[2]], row[index[3]]};
    return vld1q_f32(lanes);
  }
  static Float lerp(Float a, Float b, Float f) { return vaddq_f32(a, vmulq_f32(f, vsubq_f32(b, a))); }
  static uint32_t greater(Float a, Float b) {
    const uint32_t weight[kLanes] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgtq_f32(a, b), vld1q_u32(weight)));
  }
  static uint64_t tile(const float* const* low, const float* const* high, int64_t x, const float* weights, Float bar) {
    uint64_t word = 0;
    for (int64_t r = 0; r < 8; ++r)
      for (int64_t c = 0; c < 8; c += kLanes)
        word |= static_cast<uint64_t>(
                    greater(lerp(load(low[r] + x + c), load(high[r] + x + c), load(weights + 8 * r + c)), bar))
                << (8 * r + c);
    return word;
  }
  static int64_t popcount(uint64_t word) { return vaddv_u8(vcnt_u8(vcreate_u8(word))); }
  template <int64_t kBlocks>
  static void tally(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words, int64_t slots,
                    int64_t* count) {
    uint64x2_t sum[4 * kBlocks];
    for (auto& s : sum) s = vdupq_n_u64(0);
    for (int64_t i = 0; i < items; ++i) {
      const uint8x16_t mask = vreinterpretq_u8_u64(vdupq_n_u64(masks[i]));
      const uint64_t* tile = words + tiles[i] * slots;
      for (int64_t b = 0; b < 4 * kBlocks; ++b) {
        const uint8x16_t both = vandq_u8(mask, vreinterpretq_u8_u64(vld1q_u64(tile + 2 * b)));
        sum[b] = vaddq_u64(sum[b], vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8(both)))));
      }
    }
    for (int64_t b = 0; b < 4 * kBlocks; ++b) vst1q_s64(count + 2 * b, vreinterpretq_s64_u64(sum[b]));
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kNeon = {"neon", keep, count};
