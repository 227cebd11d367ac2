// Plain C++: any CPU.
#include <cstdint>

#include "cpu/variant.h"

namespace {
using namespace netdissect;

#include "cpu/plain-inl.h"

struct Simd : Plain<Simd> {
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
  static Float load_some(const float* p, int64_t n) {
    Float result = set(0.0f);
    for (int64_t i = 0; i < n; ++i) result.lane[i] = p[i];
    return result;
  }
  template <class Operation>
  static Float each(Operation operation) {
    Float result;
    for (int64_t i = 0; i < kLanes; ++i) result.lane[i] = operation(i);
    return result;
  }
  static Float add(const Float& a, const Float& b) {
    return each([&](int64_t i) { return a.lane[i] + b.lane[i]; });
  }
  static Float sub(const Float& a, const Float& b) {
    return each([&](int64_t i) { return a.lane[i] - b.lane[i]; });
  }
  static Float mul(const Float& a, const Float& b) {
    return each([&](int64_t i) { return a.lane[i] * b.lane[i]; });
  }
  static Float max(const Float& a, const Float& b) {
    return each([&](int64_t i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static Float if_greater(const Float& a, const Float& b, const Float& value) {
    return each([&](int64_t i) { return a.lane[i] > b.lane[i] ? value.lane[i] : 0.0f; });
  }
  static uint32_t greater(const Float& a, const Float& b) {
    uint32_t bits = 0;
    for (int64_t i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(a.lane[i] > b.lane[i]) << i;
    return bits;
  }
  static bool any_nonzero(const Float& value) {
    int32_t any = 0;
    for (float lane : value.lane) any |= lane != 0.0f;
    return any != 0;
  }
  struct Index {
    int32_t lane[kLanes];
  };
  static Index index(const int32_t* feature, int32_t first, int32_t size) {
    Index result;
    for (int64_t i = 0; i < kLanes; ++i) result.lane[i] = static_cast<int32_t>(clamp(feature[i] - first, size - 1));
    return result;
  }
  using Row = const float*;
  static Row row(const float* p, int64_t) { return p; }
  static Float pick(Row row, const Index& index) {
    return each([&](int64_t i) { return row[index.lane[i]]; });
  }
  static void add_bits(uint8_t* bytes, int64_t i, uint32_t bits) { bytes[i / 8] = static_cast<uint8_t>(bits); }
  static int64_t popcount(uint64_t word) {
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return static_cast<int64_t>((word * 0x0101010101010101u) >> 56);
  }
  template <int64_t kBlocks>
  static void count_bits(const uint64_t* masks, const int32_t* tiles, int64_t items, const uint64_t* words,
                         int64_t slots, int64_t* count) {
    for (int64_t slot = 0; slot < 8 * kBlocks; ++slot) count[slot] = 0;
    for (int64_t i = 0; i < items; ++i)
      for (int64_t slot = 0; slot < 8 * kBlocks; ++slot)
        count[slot] += popcount(masks[i] & words[tiles[i] * slots + slot]);
  }
};

#include "cpu/kernels-inl.h"
}  // namespace

const netdissect::Kernels netdissect::kBaseline = {"baseline", keep, count, masks, shrink, count_above, gather_above};
