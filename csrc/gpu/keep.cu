// keep: crops of every map that exceeds its unit's bound, appended to a store on the device in any order.
// Twin: cpu/keep-inl.h. Reads every activation once; maps above their bound, which are few, are read again to find and
// copy their box.

template <class T>
struct Maps {  // as in crops.h; strides in elements
  const T* data;
  int images, units, height, width;
  long long image_stride, unit_stride, row_stride, column_stride;
};

// Crops and values are counted in one word, so that one atomic reserves both.
constexpr u64 kOneCrop = 1ull << kValueBits;

struct Store {
  int* image;
  int* unit;
  Box* box;
  long long* start;  // of a crop's values
  float* values;
  u64* used;       // crops << kValueBits | values
  u64* nonfinite;  // smallest image·units + unit with a NaN or an infinity
};

// Adds a crop of one map for every lane of the block, or none (height 0). All threads of the block call it.
template <class T>
__device__ void add_crop(const Maps<T>& maps, const Store& store, Box box, int image, int unit, int first_image) {
  __shared__ u64 reserved[kKeepWarps];
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int size = box.height * box.width;
  const u64 mine = size > 0 ? kOneCrop + static_cast<u64>(size) : 0;
  u64 up_to_me = mine;
  for (int distance = 1; distance < kLanes; distance *= 2) {
    const u64 other = __shfl_up_sync(kAll, up_to_me, distance);
    if (lane >= distance) up_to_me += other;
  }
  if (lane == kLanes - 1) reserved[warp] = up_to_me;
  __syncthreads();
  if (threadIdx.x == 0) {
    u64 sum = 0;
    for (int w = 0; w < kKeepWarps; ++w) sum += reserved[w];
    u64 place = sum > 0 ? atomicAdd(store.used, sum) : 0;
    for (int w = 0; w < kKeepWarps; ++w) {
      const u64 next = place + reserved[w];
      reserved[w] = place;
      place = next;
    }
  }
  __syncthreads();
  const u64 place = reserved[warp] + up_to_me - mine;
  const long long start = static_cast<long long>(place & (kOneCrop - 1));
  if (size > 0) {
    const u64 slot = place >> kValueBits;
    store.image[slot] = first_image + image;
    store.unit[slot] = unit;
    store.box[slot] = box;
    store.start[slot] = start;
  }
  for (unsigned active = __ballot_sync(kAll, size > 0); active != 0; active &= active - 1) {
    const int owner = __ffs(static_cast<int>(active)) - 1;
    const int width = __shfl_sync(kAll, static_cast<int>(box.width), owner);
    const int y0 = __shfl_sync(kAll, static_cast<int>(box.y), owner);
    const int x0 = __shfl_sync(kAll, static_cast<int>(box.x), owner);
    const int count = __shfl_sync(kAll, size, owner);
    const int of_unit = __shfl_sync(kAll, unit, owner);
    const int of_image = __shfl_sync(kAll, image, owner);
    float* to = store.values + __shfl_sync(kAll, start, owner);
    const T* from = maps.data + of_image * maps.image_stride + of_unit * maps.unit_stride;
    for (int i = lane; i < count; i += kLanes) {
      const int y = i / width, x = i - y * width;
      to[i] = flush(widen(from[(y0 + y) * maps.row_stride + (x0 + x) * maps.column_stride]));
    }
  }
}

__device__ inline Box dilated_box(int top, int bottom, int left, int right, int height, int width) {
  if (bottom < top) return Box{0, 0, 0, 0};
  top = max(top - 1, 0);
  left = max(left - 1, 0);
  bottom = min(bottom + 1, height - 1);
  right = min(right + 1, width - 1);
  return Box{static_cast<unsigned short>(top), static_cast<unsigned short>(left),
             static_cast<unsigned short>(bottom - top + 1), static_cast<unsigned short>(right - left + 1)};
}

__device__ inline void report_nonfinite(const Store& store, int image, int unit, int units) {
  atomicMin(store.nonfinite, static_cast<u64>(image) * static_cast<u64>(units) + static_cast<u64>(unit));
}

// A map's positions lie side by side: one warp per map.
template <class T>
__device__ void keep_planes(const Maps<T>& maps, const float* bounds, int first_image, const Store& store) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const long long map = static_cast<long long>(blockIdx.x) * kKeepWarps + warp;
  const bool there = map < static_cast<long long>(maps.images) * maps.units;  // the same for the whole warp
  const int image = there ? static_cast<int>(map / maps.units) : 0;
  const int unit = there ? static_cast<int>(map % maps.units) : 0;
  const int size = there ? maps.height * maps.width : 0;
  const T* plane = maps.data + image * maps.image_stride + unit * maps.unit_stride;
  const float bound = exclusive(bounds[unit]);
  bool above = false, nonfinite = false;
  for (int i = lane; i < size; i += kLanes) {
    const float value = widen(plane[i]);
    above |= value > bound;
    nonfinite |= !is_finite(value);
  }
  if (__any_sync(kAll, nonfinite) && lane == 0) report_nonfinite(store, first_image + image, unit, maps.units);
  int top = maps.height, bottom = -1, left = maps.width, right = -1;
  if (__any_sync(kAll, above)) {
    for (int i = lane; i < size; i += kLanes) {
      if (!(widen(plane[i]) > bound)) continue;
      const int y = i / maps.width, x = i - y * maps.width;
      top = min(top, y);
      bottom = max(bottom, y);
      left = min(left, x);
      right = max(right, x);
    }
    for (int distance = kLanes / 2; distance > 0; distance /= 2) {
      top = min(top, __shfl_xor_sync(kAll, top, distance));
      bottom = max(bottom, __shfl_xor_sync(kAll, bottom, distance));
      left = min(left, __shfl_xor_sync(kAll, left, distance));
      right = max(right, __shfl_xor_sync(kAll, right, distance));
    }
  }
  const Box box = lane == 0 ? dilated_box(top, bottom, left, right, maps.height, maps.width) : Box{0, 0, 0, 0};
  add_crop(maps, store, box, image, unit, first_image);
}

// Units lie side by side (channels_last): one lane per map.
template <class T>
__device__ void keep_side_by_side(const Maps<T>& maps, const float* bounds, int first_image, const Store& store) {
  const int groups = (maps.units + kLanes - 1) / kLanes;
  const long long warp = static_cast<long long>(blockIdx.x) * kKeepWarps + threadIdx.x / kLanes;
  const bool row_there = warp < static_cast<long long>(maps.images) * groups;
  const int image = row_there ? static_cast<int>(warp / groups) : 0;
  const int lane_unit = static_cast<int>(warp % groups) * kLanes + static_cast<int>(threadIdx.x) % kLanes;
  const bool there = row_there && lane_unit < maps.units;
  const int unit = there ? lane_unit : 0;
  int top = maps.height, bottom = -1, left = maps.width, right = -1;
  if (there) {
    const T* base = maps.data + image * maps.image_stride + unit * maps.unit_stride;
    const float bound = exclusive(bounds[unit]);
    bool nonfinite = false;
    for (int y = 0; y < maps.height; ++y) {
      for (int x = 0; x < maps.width; ++x) {
        const float value = widen(base[y * maps.row_stride + x * maps.column_stride]);
        nonfinite |= !is_finite(value);
        if (!(value > bound)) continue;
        top = min(top, y);
        bottom = y;
        left = min(left, x);
        right = max(right, x);
      }
    }
    if (nonfinite) report_nonfinite(store, first_image + image, unit, maps.units);
  }
  add_crop(maps, store, dilated_box(top, bottom, left, right, maps.height, maps.width), image, unit, first_image);
}

#define NDF_KEEP(layout, T, suffix)                                                                                  \
  extern "C" __global__ void layout##_##suffix(                                                                      \
      const T* data, int images, int units, int height, int width, long long image_stride, long long unit_stride,    \
      long long row_stride, long long column_stride, const float* bounds, int first_image, int* store_image,         \
      int* store_unit, Box* store_box, long long* store_start, float* store_values, u64* used, u64* nonfinite) {     \
    const Maps<T> maps{data,         images,      units,      height,       width,                                   \
                       image_stride, unit_stride, row_stride, column_stride};                                        \
    const Store store{store_image, store_unit, store_box, store_start, store_values, used, nonfinite};               \
    layout(maps, bounds, first_image, store);                                                                        \
  }

NDF_KEEP(keep_planes, float, f32)
NDF_KEEP(keep_planes, Half, f16)
NDF_KEEP(keep_planes, BFloat, bf16)
NDF_KEEP(keep_side_by_side, float, f32)
NDF_KEEP(keep_side_by_side, Half, f16)
NDF_KEEP(keep_side_by_side, BFloat, bf16)
