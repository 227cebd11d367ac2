// keep, written once: every variant_*.cpp includes it after its `Simd` (plain-inl.h).

// Values below 2^-72 count as zero (SPEC 3), so above a bound of 0 means at least 2^-72.
constexpr float kLargestFlushed = 0x1.fffffep-73f;
constexpr int64_t kAhead = 1024;  // values that are asked for before they are looked at: hardware stops at each page

inline float strict(float bound) { return bound == 0.0f ? kLargestFlushed : bound; }

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

template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;

template <class T>
void copy_map(const Maps& maps, const T* from, float* to) {
  for (int64_t y = 0; y < maps.height; ++y, from += maps.row_stride)
    for (int64_t x = 0; x < maps.width; ++x) *to++ = widen(from[x * maps.column_stride]);
}

// Which of n ≤ kLanes values exceed t?
inline uint32_t above(const float* p, int64_t n, const typename Simd::Float& t) {
  return Simd::greater(Simd::load_some(p, n), t) & ((1u << n) - 1);
}

// The positions above the bound, dilated by one, never beyond the map. Height 0 where there is none.
inline Box dilated_box(const float* map, int64_t height, int64_t width, float bound) {
  const auto t = Simd::set(bound);
  int64_t top = height, bottom = -1, left = width, right = -1;
  for (int64_t x = 0; x < width; x += Simd::kLanes) {
    const int64_t n = at_most(Simd::kLanes, width - x);
    uint32_t columns = 0;
    for (int64_t y = 0; y < height; ++y) {
      const uint32_t bits = above(map + y * width + x, n, t);
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

// Adds the crop of a map with something above the bound.
inline void add_crop(const KeepJob& job, const float* map, int64_t unit, float bound, Kept* kept) {
  const int64_t width = job.maps.width;
  const Box box = dilated_box(map, job.maps.height, width, bound);
  kept->unit[kept->crops] = static_cast<int32_t>(unit);
  kept->box[kept->crops++] = box;
  const auto smallest = Simd::set(kLargestFlushed);
  float* to = kept->values + kept->size;
  const float* row = map + box.y * width + box.x;
  for (int64_t y = 0; y < box.height; ++y, row += width, to += box.width)
    for (int64_t x = 0; x < box.width; x += Simd::kLanes) {
      const auto values = Simd::load_some(row + x, at_most(Simd::kLanes, box.width - x));
      Simd::store(to + x,
                  Simd::if_greater(magnitude<Simd>(values), smallest, values));  // the next row overwrites the excess
    }
  kept->size = to - kept->values;
}

struct Seen {
  bool above, nonfinite;
};

// The difference of a value with itself is 0 unless it is NaN or infinite.
inline Seen look(const float* map, int64_t size, float bound) {
  if (size < Simd::kLanes) {
    const auto few = Simd::load_some(map, size);
    return {above(map, size, Simd::set(bound)) != 0, Simd::any_nonzero(Simd::sub(few, few))};
  }
  auto largest = Simd::load(map), strange = Simd::sub(largest, largest);
  for (int64_t i = Simd::kLanes; i < size; i += Simd::kLanes) {
    __builtin_prefetch(map + i + kAhead);
    const auto values = Simd::load(map + at_most(size - Simd::kLanes, i));  // the last ones overlap
    largest = Simd::max(largest, values);
    strange = Simd::add(strange, Simd::sub(values, values));
  }
  return {Simd::greater(largest, Simd::set(bound)) != 0, Simd::any_nonzero(strange)};
}

// Units lie side by side (channels_last): look at 16 of them at once, then only copy out the active ones.
constexpr int64_t kSideBySide = 16;

template <class T>
void keep_side_by_side(const KeepJob& job, const T* base, int64_t unit, float* scratch, Kept* kept) {
  const Maps& maps = job.maps;
  float bound[kSideBySide];
  int32_t active[kSideBySide] = {}, strange[kSideBySide] = {};
  for (int64_t i = 0; i < kSideBySide; ++i) bound[i] = strict(job.bounds[unit + i]);
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) {
      const T* from = base + y * maps.row_stride + x * maps.column_stride;
      for (int64_t i = 0; i < kSideBySide; ++i) {
        const float value = widen(from[i]);
        active[i] |= value > bound[i];
        strange[i] |= !(value - value == 0.0f);
      }
    }
  for (int64_t i = 0; i < kSideBySide; ++i) {
    if (strange[i] && kept->nonfinite < 0) kept->nonfinite = unit + i;
    if (!active[i]) continue;
    copy_map(maps, base + i, scratch);
    add_crop(job, scratch, unit + i, bound[i], kept);
  }
}

template <class T>
void keep_units(const KeepJob& job, int64_t image, int64_t first, int64_t last, float* scratch, Kept* kept) {
  const Maps& maps = job.maps;
  const bool contiguous = maps.column_stride == 1 && maps.row_stride == maps.width;
  const bool side_by_side = maps.unit_stride == 1;
  for (int64_t unit = first; unit < last;) {
    const T* from = static_cast<const T*>(maps.data) + image * maps.image_stride + unit * maps.unit_stride;
    if (side_by_side && unit + kSideBySide <= last) {
      keep_side_by_side<T>(job, from, unit, scratch, kept);
      unit += kSideBySide;
      continue;
    }
    const float* map = scratch;
    if constexpr (kIsFloat<T>) {
      if (contiguous) map = from;
    }
    if (map == scratch) copy_map(maps, from, scratch);
    const float bound = strict(job.bounds[unit]);
    const Seen seen = look(map, maps.height * maps.width, bound);
    if (seen.nonfinite && kept->nonfinite < 0) kept->nonfinite = unit;
    if (seen.above) add_crop(job, map, unit, bound, kept);
    ++unit;
  }
}

void keep(const KeepJob& job, int64_t image, int64_t first, int64_t last, float* scratch, Kept* kept) {
  switch (job.maps.dtype) {
    case Dtype::kFloat32:
      return keep_units<float>(job, image, first, last, scratch, kept);
    case Dtype::kFloat16:
      return keep_units<Half>(job, image, first, last, scratch, kept);
    case Dtype::kBFloat16:
      return keep_units<BFloat>(job, image, first, last, scratch, kept);
  }
}
