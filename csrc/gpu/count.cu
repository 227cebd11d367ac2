// count: adds what the masks of crops cover. A warp owns a crop; two ballots make the 64-bit word of an 8×8 tile;
// then lanes are concepts, their popcounts summed in registers. Integer atomics only: any order gives the same sums.

constexpr int kSlotsPerLane = 4;  // concepts in registers; images with more than 128 slots go round again

struct Axis {  // as in labels.h
  const int* i0;
  const int* i1;
  const float* f;
  const int* begin;
  const int* end;
};

struct Pixel {  // one label row or column as seen from a crop
  int low, high;
  float f;
  bool inside;
};

__device__ inline Pixel look_up(const Axis& axis, int p, int begin, int end, int origin) {
  const bool inside = p >= begin && p < end;
  return inside ? Pixel{axis.i0[p] - origin, axis.i1[p] - origin, axis.f[p], true} : Pixel{0, 0, 0.0f, false};
}

__device__ inline bool is_on(const float* crop, int width, const Pixel& y, const Pixel& x, float threshold) {
  if (!y.inside || !x.inside) return false;
  const float* top = crop + y.low * width;
  const float* bottom = crop + y.high * width;
  const float a00 = top[x.low], a01 = top[x.high], a10 = bottom[x.low], a11 = bottom[x.high];
  if (!(a00 > threshold || a01 > threshold || a10 > threshold || a11 > threshold)) return false;
  return lerp(lerp(a00, a01, x.f), lerp(a10, a11, x.f), y.f) > threshold;
}

extern "C" __global__ void count(int crops, const int* crop_image, const int* crop_unit, const Box* crop_box,
                                 const long long* crop_start, const float* crop_values, int first_image,
                                 const float* thresholds, const int* y_i0, const int* y_i1, const float* y_f,
                                 const int* y_begin, const int* y_end, const int* x_i0, const int* x_i1,
                                 const float* x_f, const int* x_begin, const int* x_end, int label_width,
                                 const long long* slot_start, const int* slot_concept, const long long* word_start,
                                 const u64* words, const long long* whole_start, const int* whole,
                                 const unsigned char* present, int categories, int concepts, u64* intersection,
                                 u64* unit_area) {
  const Axis y_axis{y_i0, y_i1, y_f, y_begin, y_end}, x_axis{x_i0, x_i1, x_f, x_begin, x_end};
  const int lane = threadIdx.x % kLanes;
  const int warps = gridDim.x * (blockDim.x / kLanes);
  const int tiles_x = (label_width + kTile - 1) / kTile;
  for (int c = blockIdx.x * (blockDim.x / kLanes) + threadIdx.x / kLanes; c < crops; c += warps) {
    const int image = crop_image[c] - first_image;
    const long long unit = crop_unit[c];
    const Box box = crop_box[c];
    const float* crop = crop_values + crop_start[c];
    const float threshold = thresholds[unit];
    const int y_from = y_axis.begin[box.y], y_to = y_axis.end[box.y + box.height - 1];
    const int x_from = x_axis.begin[box.x], x_to = x_axis.end[box.x + box.width - 1];
    if (y_from >= y_to || x_from >= x_to) continue;

    const int slots = static_cast<int>(slot_start[image + 1] - slot_start[image]);
    const int* concept_of = slot_concept + slot_start[image];
    const u64* image_words = words + word_start[image];
    u64* row = intersection + unit * concepts;
    unsigned area = 0;
    for (int first_slot = 0; first_slot == 0 || first_slot < slots; first_slot += kSlotsPerLane * kLanes) {
      unsigned sum[kSlotsPerLane] = {};
      area = 0;
      for (int ty = y_from / kTile; ty * kTile < y_to; ++ty) {
        const Pixel upper = look_up(y_axis, ty * kTile + lane / kTile, y_from, y_to, box.y);
        const Pixel lower = look_up(y_axis, ty * kTile + lane / kTile + 4, y_from, y_to, box.y);
        for (int tx = x_from / kTile; tx * kTile < x_to; ++tx) {
          const Pixel column = look_up(x_axis, tx * kTile + lane % kTile, x_from, x_to, box.x);
          const unsigned low = __ballot_sync(kAll, is_on(crop, box.width, upper, column, threshold));
          const unsigned high = __ballot_sync(kAll, is_on(crop, box.width, lower, column, threshold));
          if ((low | high) == 0) continue;
          const u64 mask = static_cast<u64>(high) << 32 | low;
          area += static_cast<unsigned>(__popcll(mask));
          const u64* tile = image_words + static_cast<long long>(ty * tiles_x + tx) * slots;
#pragma unroll
          for (int i = 0; i < kSlotsPerLane; ++i) {
            const int slot = first_slot + i * kLanes + lane;
            if (slot < slots) sum[i] += static_cast<unsigned>(__popcll(mask & tile[slot]));
          }
        }
      }
#pragma unroll
      for (int i = 0; i < kSlotsPerLane; ++i) {
        const int slot = first_slot + i * kLanes + lane;
        if (slot < slots && sum[i] > 0) atomicAdd(row + concept_of[slot], static_cast<u64>(sum[i]));
      }
    }
    if (area == 0) continue;
    for (long long i = whole_start[image] + lane; i < whole_start[image + 1]; i += kLanes)
      atomicAdd(row + whole[i], static_cast<u64>(area));
    for (int category = lane; category < categories; category += kLanes)
      if (present[static_cast<long long>(image) * categories + category])
        atomicAdd(unit_area + unit * categories + category, static_cast<u64>(area));
  }
}
