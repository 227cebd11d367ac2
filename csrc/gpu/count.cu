// count: adds what the masks of crops cover. Twin: cpu/count-inl.h. A warp owns a crop; two ballots make the 64-bit
// word of an 8×8 tile; then lanes are concepts, their popcounts summed in registers. Integer atomics only: the sums are
// the same in any order.

constexpr int kSlotsPerLane = 4;  // concepts in registers; images with more than 128 slots take several rounds

struct Crops {  // as in crops.h; of images from first_image on
  int count;
  const int* image;
  const int* unit;
  const Box* box;
  const long long* start;
  const float* values;
  int first_image;
};

struct Axis {  // as in labels.h
  const int* i0;
  const int* i1;
  const float* f;
  const int* begin;
  const int* end;
};

struct Labels {  // as in labels.h
  const long long* slot_start;
  const int* slot_concept;
  const long long* word_start;
  const u64* words;
  const long long* whole_start;
  const int* whole;
  const unsigned char* present;
  int categories;
};

struct CountJob {  // as in labels.h
  Crops crops;
  const float* thresholds;
  Axis y, x;
  int tiles_x;  // in a row of the label grid
  Labels labels;
  int concepts;
  u64* intersection;
  u64* unit_area;
};

struct PixelRange {
  int begin, end;
};

// Label pixels that lie between samples of the crop; others cannot be on.
__device__ inline PixelRange covered_pixels(const Axis& axis, unsigned short first, unsigned short size) {
  return {axis.begin[first], axis.end[first + size - 1]};
}

struct Pixel {  // one label row or column as seen from a crop
  int low, high;
  float f;
  bool inside;
};

__device__ inline Pixel pixel_at(const Axis& axis, int p, PixelRange range, int origin) {
  const bool inside = p >= range.begin && p < range.end;
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

__device__ inline void count_crop(const CountJob& job, int c, int lane) {
  const Labels& labels = job.labels;
  const int image = job.crops.image[c] - job.crops.first_image;
  const long long unit = job.crops.unit[c];
  const Box box = job.crops.box[c];
  const float* crop = job.crops.values + job.crops.start[c];
  const float threshold = job.thresholds[unit];
  const PixelRange py = covered_pixels(job.y, box.y, box.height), px = covered_pixels(job.x, box.x, box.width);
  if (py.begin >= py.end || px.begin >= px.end) return;

  const int slots = static_cast<int>(labels.slot_start[image + 1] - labels.slot_start[image]);
  const int* concept_of = labels.slot_concept + labels.slot_start[image];
  const u64* image_words = labels.words + labels.word_start[image];
  u64* intersection = job.intersection + unit * job.concepts;
  unsigned area = 0;
  for (int first_slot = 0; first_slot == 0 || first_slot < slots; first_slot += kSlotsPerLane * kLanes) {
    unsigned sum[kSlotsPerLane] = {};
    area = 0;
    for (int ty = py.begin / kTile; ty * kTile < py.end; ++ty) {
      const Pixel upper = pixel_at(job.y, ty * kTile + lane / kTile, py, box.y);
      const Pixel lower = pixel_at(job.y, ty * kTile + lane / kTile + 4, py, box.y);
      for (int tx = px.begin / kTile; tx * kTile < px.end; ++tx) {
        const Pixel column = pixel_at(job.x, tx * kTile + lane % kTile, px, box.x);
        const unsigned low = __ballot_sync(kAll, is_on(crop, box.width, upper, column, threshold));
        const unsigned high = __ballot_sync(kAll, is_on(crop, box.width, lower, column, threshold));
        if ((low | high) == 0) continue;
        const u64 mask = static_cast<u64>(high) << 32 | low;
        area += static_cast<unsigned>(__popcll(mask));
        const u64* tile = image_words + static_cast<long long>(ty * job.tiles_x + tx) * slots;
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
      if (slot < slots && sum[i] > 0) atomicAdd(intersection + concept_of[slot], static_cast<u64>(sum[i]));
    }
  }
  if (area == 0) return;
  for (long long i = labels.whole_start[image] + lane; i < labels.whole_start[image + 1]; i += kLanes)
    atomicAdd(intersection + labels.whole[i], static_cast<u64>(area));
  for (int category = lane; category < labels.categories; category += kLanes)
    if (labels.present[static_cast<long long>(image) * labels.categories + category])
      atomicAdd(job.unit_area + unit * labels.categories + category, static_cast<u64>(area));
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
  const int lane = threadIdx.x % kLanes;
  const int warps = gridDim.x * (blockDim.x / kLanes);
  const CountJob job{{crops, crop_image, crop_unit, crop_box, crop_start, crop_values, first_image},
                     thresholds,
                     {y_i0, y_i1, y_f, y_begin, y_end},
                     {x_i0, x_i1, x_f, x_begin, x_end},
                     (label_width + kTile - 1) / kTile,
                     {slot_start, slot_concept, word_start, words, whole_start, whole, present, categories},
                     concepts,
                     intersection,
                     unit_area};
  for (int c = blockIdx.x * (blockDim.x / kLanes) + threadIdx.x / kLanes; c < crops; c += warps)
    count_crop(job, c, lane);
}
