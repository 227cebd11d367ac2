// 64-bit Arm: NEON is always there.
#include <arm_neon.h>

#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

#include "cpu/plain-inl.h"

struct Simd : Plain<Simd> {
  static constexpr int64_t kLanes = 4;
  using Float = float32x4_t;
  static Float set(float value) { return vdupq_n_f32(value); }
  static Float load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Float value) { vst1q_f32(p, value); }
  static Float load_some(const float* p, int64_t n) {
    float lanes[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return vld1q_f32(lanes);
  }
  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float sub(Float a, Float b) { return vsubq_f32(a, b); }
  static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static Float max(Float a, Float b) { return vmaxq_f32(a, b); }
  static Float if_greater(Float a, Float b, Float value) {
    return vreinterpretq_f32_u32(vandq_u32(vcgtq_f32(a, b), vreinterpretq_u32_f32(value)));
  }
  static uint32_t greater(Float a, Float b) {
    const uint32_t weight[kLanes] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgtq_f32(a, b), vld1q_u32(weight)));
  }
  static bool any_nonzero(Float value) { return vminvq_u32(vceqq_f32(value, set(0.0f))) == 0; }
  using Index = int32x4_t;
  static Index index(const int32_t* feature, int32_t first, int32_t size) {
    const int32x4_t from = vsubq_s32(vld1q_s32(feature), vdupq_n_s32(first));
    return vminq_s32(vmaxq_s32(from, vdupq_n_s32(0)), vdupq_n_s32(size - 1));
  }
  using Row = const float*;
  static Row row(const float* p, int64_t) { return p; }
  static Float pick(Row row, Index index) {
    int32_t i[kLanes];
    vst1q_s32(i, index);
    const float lanes[kLanes] = {row[i[0]], row[i[1]], row[i[2]], row[i[3]]};
    return vld1q_f32(lanes);
  }
  static void add_bits(uint8_t* bytes, int64_t i, uint32_t bits) {
    bytes[i / 8] = static_cast<uint8_t>(bytes[i / 8] | bits << (i % 8));
  }
  static int64_t popcount(uint64_t word) { return vaddv_u8(vcnt_u8(vcreate_u8(word))); }
  template <int64_t kBlocks>
  static void count_bits(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words,
                         int64_t slots, int64_t* count) {
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

const netdissect::Kernels netdissect::kNeon = {"neon", keep, count, masks, shrink, count_above, gather_above};
