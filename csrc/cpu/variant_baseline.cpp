// Plain C++: any CPU.
#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

struct Simd {
  static constexpr int64_t kLanes = 8;
  struct Float {
    float lane[kLanes];
  };
  static Float set(float value) {
    Float result;
    for (float& lane : result.lane) lane = value;
    return result;
  }
  static Float load(const float* p) {
    Float result;
    for (int64_t i = 0; i < kLanes; ++i) result.lane[i] = p[i];
    return result;
  }
  static void store(float* p, const Float& value) {
    for (int64_t i = 0; i < kLanes; ++i) p[i] = value.lane[i];
  }
  using Row = const float*;
  static Row row(const float* p, int64_t) { return p; }
  static Float pick(Row row, const int32_t* index) {
    Float result;
    for (int64_t i = 0; i < kLanes; ++i) result.lane[i] = row[index[i]];
    return result;
  }
  static Float lerp(const Float& a, const Float& b, const Float& f) {
    Float result;
    for (int64_t i = 0; i < kLanes; ++i) {
      const float difference = b.lane[i] - a.lane[i];
      const float step = f.lane[i] * difference;
      result.lane[i] = a.lane[i] + step;
    }
    return result;
  }
  static uint32_t greater(const Float& a, const Float& b) {
    uint32_t bits = 0;
    for (int64_t i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(a.lane[i] > b.lane[i]) << i;
    return bits;
  }
  static uint64_t tile(const float* const* low, const float* const* high, int64_t x, const float* weights,
                       const Float& bar) {
    uint64_t word = 0;
    for (int64_t r = 0; r < 8; ++r)
      word |= static_cast<uint64_t>(greater(lerp(load(low[r] + x), load(high[r] + x), load(weights + 8 * r)), bar))
              << (8 * r);
    return word;
  }
  static int64_t popcount(uint64_t word) {
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return static_cast<int64_t>((word * 0x0101010101010101u) >> 56);
  }
  template <int64_t kBlocks>
  static void tally(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words, int64_t slots,
                    int64_t* count) {
    for (int64_t slot = 0; slot < 8 * kBlocks; ++slot) count[slot] = 0;
    for (int64_t i = 0; i < items; ++i)
      for (int64_t slot = 0; slot < 8 * kBlocks; ++slot)
        count[slot] += popcount(masks[i] & words[tiles[i] * slots + slot]);
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kBaseline = {"baseline", keep, count};
