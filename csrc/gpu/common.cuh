// What keep and count share. Twin: cpu/common-inl.h. No #include anywhere: NVRTC then needs no toolkit headers. The
// module that is compiled is the constants that backends/cuda.py shares with the kernels (kKeepWarps: warps in a block;
// kValueBits: see Store), then common.cuh, keep.cu and count.cu.
typedef unsigned long long u64;

constexpr unsigned kAll = 0xffffffffu;  // all 32 lanes
constexpr int kLanes = 32;
constexpr int kTile = 8;  // as in labels.h

struct __align__(8) Box {  // as in crops.h: rows y .. y+height-1, columns x .. x+width-1; height 0 = no crop
  unsigned short y, x, height, width;
};

// Values below 2^-72 count as zero (spec 1.3). Flush-to-zero arithmetic then decides every pixel like any other.
constexpr float kSmallest = 0x1p-72f;
constexpr float kLargestFlushed = 0x1.fffffep-73f;

// exclusive, flush, lerp, Half, BFloat, widen: twins of those in cpu/common-inl.h and cpu/plain-inl.h.
__device__ inline float exclusive(float bound) { return bound == 0.0f ? kLargestFlushed : bound; }

__device__ inline float flush(float value) { return value > -kSmallest && value < kSmallest ? 0.0f : value; }

__device__ inline bool is_finite(float value) { return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u; }

// Each operation rounded on its own (spec 1.3): the intrinsics are never contracted into a fused multiply-add.
__device__ inline float lerp(float a, float b, float f) { return __fadd_rn(a, __fmul_rn(f, __fsub_rn(b, a))); }

struct Half {
  unsigned short bits;
};

struct BFloat {
  unsigned short bits;
};

__device__ inline float widen(float value) { return value; }

__device__ inline float widen(BFloat value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }

__device__ inline float widen(Half value) {
  const unsigned sign = static_cast<unsigned>(value.bits & 0x8000u) << 16;
  const unsigned magnitude = static_cast<unsigned>(value.bits & 0x7fffu) << 13;
  const unsigned exponent = magnitude & 0x0f800000u;
  if (exponent == 0x0f800000u) return __uint_as_float(sign | (magnitude + (224u << 23)));  // infinity, NaN
  if (exponent != 0) return __uint_as_float(sign | (magnitude + (112u << 23)));
  const float tiny = __fsub_rn(__uint_as_float(magnitude + (113u << 23)), __uint_as_float(113u << 23));
  return __uint_as_float(sign | __float_as_uint(tiny));
}
