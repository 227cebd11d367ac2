// keep: crops of the maps that exceed their unit's bound. Part of kernels-inl.h. Twin: gpu/keep.cu.

constexpr int64_t kAhead = 1024;  // values prefetched before they are scanned: hardware stops at each page

template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;

template <class T>
void copy_map(const Maps& maps, const T* from, float* to) {
  for (int64_t y = 0; y < maps.height; ++y, from += maps.row_stride)
    for (int64_t x = 0; x < maps.width; ++x) *to++ = widen(from[x * maps.column_stride]);
}

// Adds the crop of a map with something above the bound.
inline void add_crop(const KeepJob& job, const float* map, int64_t unit, float bound, Kept* kept) {
  const int64_t width = job.maps.width;
  const Box box = dilated_box(map, job.maps.height, width, bound);
  kept->unit[kept->crops] = static_cast<int32_t>(unit);
  kept->box[kept->crops++] = box;
  float* to = kept->values + kept->size;
  const float* row = map + box.y * width + box.x;
  for (int64_t y = 0; y < box.height; ++y, row += width, to += box.width)
    for (int64_t x = 0; x < box.width; x += Simd::kLanes) {
      const auto values = Simd::load_some(row + x, at_most(Simd::kLanes, box.width - x));
      Simd::store(to + x, flush(values));  // the next row overwrites the excess
    }
  kept->size = to - kept->values;
}

struct Seen {
  bool above, nonfinite;
};

// The difference of a value with itself is 0 unless it is NaN or infinite.
inline Seen scan(const float* map, int64_t size, float bound) {
  if (size < Simd::kLanes) {
    const auto few = Simd::load_some(map, size);
    return {above(map, size, Simd::set(bound)) != 0, Simd::any_nonzero(Simd::sub(few, few))};
  }
  auto largest = Simd::load(map), nonfinite = Simd::sub(largest, largest);
  for (int64_t i = Simd::kLanes; i < size; i += Simd::kLanes) {
    __builtin_prefetch(map + i + kAhead);
    const auto values = Simd::load(map + at_most(size - Simd::kLanes, i));  // the last ones overlap
    largest = Simd::max(largest, values);
    nonfinite = Simd::add(nonfinite, Simd::sub(values, values));
  }
  return {Simd::greater(largest, Simd::set(bound)) != 0, Simd::any_nonzero(nonfinite)};
}

// Units lie side by side (channels_last): scan 16 of them at once, then copy out only those above their bound.
constexpr int64_t kSideBySide = 16;

template <class T>
void keep_side_by_side(const KeepJob& job, const T* base, int64_t unit, float* scratch, Kept* kept) {
  const Maps& maps = job.maps;
  float bound[kSideBySide];
  int32_t above_bound[kSideBySide] = {}, nonfinite[kSideBySide] = {};
  for (int64_t i = 0; i < kSideBySide; ++i) bound[i] = exclusive(job.bounds[unit + i]);
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) {
      const T* from = base + y * maps.row_stride + x * maps.column_stride;
      for (int64_t i = 0; i < kSideBySide; ++i) {
        const float value = widen(from[i]);
        above_bound[i] |= value > bound[i];
        nonfinite[i] |= !(value - value == 0.0f);
      }
    }
  for (int64_t i = 0; i < kSideBySide; ++i) {
    if (nonfinite[i] && kept->nonfinite < 0) kept->nonfinite = unit + i;
    if (!above_bound[i]) continue;
    copy_map(maps, base + i, scratch);
    add_crop(job, scratch, unit + i, bound[i], kept);
  }
}

// Units as they come: 16 side by side, or one map at a time (twin: keep_planes).
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
    const float bound = exclusive(job.bounds[unit]);
    const Seen seen = scan(map, maps.height * maps.width, bound);
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
