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
  static int64_t popcount(uint64_t word) { return vaddv_u8(vcnt_u8(vcreate_u8(word))); }
  static void tally(uint64_t word, const uint64_t* concepts, int64_t slots, int64_t* count) {
    const uint8x16_t mask = vreinterpretq_u8_u64(vdupq_n_u64(word));
    for (int64_t slot = 0; slot < slots; slot += 2) {
      const uint8x16_t both = vandq_u8(mask, vreinterpretq_u8_u64(vld1q_u64(concepts + slot)));
      const uint64x2_t bits = vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(vcntq_u8(both))));
      vst1q_s64(count + slot, vaddq_s64(vld1q_s64(count + slot), vreinterpretq_s64_u64(bits)));
    }
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kNeon = {"neon", keep, count};
