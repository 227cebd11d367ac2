// What the kernels share: bounds, 16-bit floats, which part of a map exceeds a bound. Part of kernels-inl.h.
// exclusive, flush, Half, BFloat and widen have twins in gpu/common.cuh, dilated_box in gpu/keep.cu.

// Values below 2^-72 count as zero (spec 1.3), so above a bound of 0 means at least 2^-72.
constexpr float kLargestFlushed = 0x1.fffffep-73f;

// The bound to compare values with that are not flushed yet: what is flushed to 0 does not exceed a bound of 0.
inline float exclusive(float bound) { return bound == 0.0f ? kLargestFlushed : bound; }

inline Simd::Float flush(const Simd::Float& values) {
  return Simd::if_greater(magnitude<Simd>(values), Simd::set(kLargestFlushed), values);
}

inline float from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

inline float widen(float value) { return value; }

struct Half {
  uint16_t bits;
};

struct BFloat {
  uint16_t bits;
};

inline float widen(BFloat value) { return from_bits(static_cast<uint32_t>(value.bits) << 16); }

inline float widen(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  const float normal = from_bits(magnitude + (112u << 23));
  const float special = from_bits(magnitude + (224u << 23));                       // infinity, NaN
  const float tiny = from_bits(magnitude + (113u << 23)) - from_bits(113u << 23);  // subnormal
  const float absolute = exponent == 0x0f800000u ? special : exponent == 0 ? tiny : normal;
  uint32_t bits;
  __builtin_memcpy(&bits, &absolute, sizeof bits);
  return from_bits(bits | sign);
}

inline int64_t values_in(const Crops& crops, int64_t crop) { return crops.start[crop + 1] - crops.start[crop]; }

// Which of n ≤ kLanes values exceed the threshold?
inline uint32_t above(const float* p, int64_t n, const Simd::Float& threshold) {
  return Simd::greater(Simd::load_some(p, n), threshold) & ((1u << n) - 1);
}

// The positions above the bound, dilated by one, never beyond the map. Height 0 if there are none.
inline Box dilated_box(const float* map, int64_t height, int64_t width, float bound) {
  const auto threshold = Simd::set(bound);
  int64_t top = height, bottom = -1, left = width, right = -1;
  for (int64_t x = 0; x < width; x += Simd::kLanes) {
    const int64_t n = at_most(Simd::kLanes, width - x);
    uint32_t columns = 0;
    for (int64_t y = 0; y < height; ++y) {
      const uint32_t bits = above(map + y * width + x, n, threshold);
      columns |= bits;
      top = bits && y < top ? y : top;
      bottom = bits && y > bottom ? y : bottom;
    }
    if (!columns) continue;
    left = at_most(left, x + __builtin_ctz(columns));
    right = x + 31 - __builtin_clz(columns);
  }
  if (bottom < 0) return Box{0, 0, 0, 0};
  top = top > 0 ? top - 1 : 0;
  left = left > 0 ? left - 1 : 0;
  bottom = at_most(height - 1, bottom + 1);
  right = at_most(width - 1, right + 1);
  return Box{static_cast<uint16_t>(top), static_cast<uint16_t>(left), static_cast<uint16_t>(bottom - top + 1),
             static_cast<uint16_t>(right - left + 1)};
}
