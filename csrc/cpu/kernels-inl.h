// keep and count, written once. Each variant_*.cpp defines `Simd` and includes this file in an anonymous namespace.
//
// A Simd policy has
//   kLanes, Float, set, load, store
//   Row, row(p, width), pick(row, index)   sample a crop row at kLanes indices
//   lerp(a, b, f)                          a + f·(b − a), each operation rounded on its own (SPEC 3)
//   greater(a, b)                          bit i = lane i of a > b
//   tile(low, high, x, weights, bar)       bit 8·r + c: lerp(low[r][x+c], high[r][x+c], weights[8·r + c]) > bar
//   popcount(word)
//   tally<blocks>(masks, tiles, items, words, slots, count)
//                                          count[s] = Σ popcount(masks[i] & words[tiles[i]·slots + s]), s < 8·blocks

// Values below 2^-72 count as zero (SPEC 3), so above a bound of 0 means at least 2^-72.
constexpr float kLargestFlushed = 0x1.fffffep-73f;

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

// ---------------------------------------------------------------------------------------------------- keep

inline Box dilated_box(const float* map, int64_t height, int64_t width, float bound) {
  int64_t top = height, bottom = -1, left = width, right = -1;
  for (int64_t y = 0; y < height; ++y) {
    const float* row = map + y * width;
    int64_t first = 0, last = width - 1;
    while (first < width && !(row[first] > bound)) ++first;
    if (first == width) continue;
    while (!(row[last] > bound)) --last;
    if (top == height) top = y;
    bottom = y;
    if (first < left) left = first;
    if (last > right) right = last;
  }
  if (bottom < 0) return Box{0, 0, 0, 0};
  top = top > 0 ? top - 1 : 0;
  left = left > 0 ? left - 1 : 0;
  bottom = bottom < height - 1 ? bottom + 1 : bottom;
  right = right < width - 1 ? right + 1 : right;
  return Box{static_cast<uint16_t>(top), static_cast<uint16_t>(left), static_cast<uint16_t>(bottom - top + 1),
             static_cast<uint16_t>(right - left + 1)};
}

inline void report(NonFinite* bad, int64_t image, int64_t unit) {
  if (bad->image < 0 || image < bad->image || (image == bad->image && unit < bad->unit)) *bad = {image, unit};
}

// Above the bound anywhere? The difference of a value with itself is 0 unless it is NaN or infinite.
inline bool any_above(const float* map, int64_t size, float bound, bool* nonfinite) {
  int32_t above = 0, strange = 0;
  for (int64_t i = 0; i < size; ++i) {
    above |= map[i] > bound;
    strange |= !(map[i] - map[i] == 0.0f);
  }
  *nonfinite = strange != 0;
  return above != 0;
}

template <class T>
void copy_map(const Maps& maps, const T* from, float* to) {
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) *to++ = widen(from[y * maps.row_stride + x * maps.column_stride]);
}

// Units lie side by side (channels_last): look at 16 of them at once, then only copy out the active ones.
constexpr int64_t kSideBySide = 16;

template <class T>
void keep_side_by_side(const KeepJob& job, int64_t image, int64_t unit, float* scratch, NonFinite* bad) {
  const Maps& maps = job.maps;
  const T* base = static_cast<const T*>(maps.data) + image * maps.image_stride + unit;
  float bound[kSideBySide];
  int32_t above[kSideBySide] = {}, strange[kSideBySide] = {};
  for (int64_t i = 0; i < kSideBySide; ++i) bound[i] = strict(job.bounds[unit + i]);
  for (int64_t y = 0; y < maps.height; ++y)
    for (int64_t x = 0; x < maps.width; ++x) {
      const T* from = base + y * maps.row_stride + x * maps.column_stride;
      for (int64_t i = 0; i < kSideBySide; ++i) {
        const float value = widen(from[i]);
        above[i] |= value > bound[i];
        strange[i] |= !(value - value == 0.0f);
      }
    }
  for (int64_t i = 0; i < kSideBySide; ++i) {
    Box& box = job.boxes[image * maps.units + unit + i];
    box = Box{0, 0, 0, 0};
    if (strange[i]) report(bad, image, unit + i);
    if (!above[i]) continue;
    copy_map(maps, base + i, scratch);
    box = dilated_box(scratch, maps.height, maps.width, bound[i]);
  }
}

template <class T>
constexpr bool kIsFloat = false;
template <>
constexpr bool kIsFloat<float> = true;

template <class T>
void keep_units(const KeepJob& job, int64_t first, int64_t last, float* scratch, NonFinite* bad) {
  const Maps& maps = job.maps;
  const bool contiguous = maps.column_stride == 1 && maps.row_stride == maps.width;
  const bool side_by_side = maps.unit_stride == 1 && !contiguous;
  for (int64_t image = 0; image < maps.images; ++image)
    for (int64_t unit = first; unit < last;) {
      if (side_by_side && unit + kSideBySide <= last) {
        keep_side_by_side<T>(job, image, unit, scratch, bad);
        unit += kSideBySide;
        continue;
      }
      const T* from = static_cast<const T*>(maps.data) + image * maps.image_stride + unit * maps.unit_stride;
      const float* map = scratch;
      if constexpr (kIsFloat<T>) {
        if (contiguous) map = from;
      }
      if (map == scratch) copy_map(maps, from, scratch);
      bool nonfinite;
      const float bound = strict(job.bounds[unit]);
      const bool active = any_above(map, maps.height * maps.width, bound, &nonfinite);
      if (nonfinite) report(bad, image, unit);
      job.boxes[image * maps.units + unit] =
          active ? dilated_box(map, maps.height, maps.width, bound) : Box{0, 0, 0, 0};
      ++unit;
    }
}

void keep(const KeepJob& job, int64_t first, int64_t last, float* scratch, NonFinite* bad) {
  switch (job.maps.dtype) {
    case Dtype::kFloat32:
      return keep_units<float>(job, first, last, scratch, bad);
    case Dtype::kFloat16:
      return keep_units<Half>(job, first, last, scratch, bad);
    case Dtype::kBFloat16:
      return keep_units<BFloat>(job, first, last, scratch, bad);
  }
}

// --------------------------------------------------------------------------------------------------- count
//
// A crop becomes a compact list of items: 8×8 tiles of label pixels with a sample above T beside one of their pixels.
// Then two loops without branches: the mask word of every item, and its popcounts against the concepts' words.

constexpr int64_t kGroup = 16;  // label pixels handled together along x: two tiles
constexpr int64_t kTile = 8;
constexpr int64_t kBlock = 8;       // slots come in blocks of 8
constexpr int64_t kMostBlocks = 4;  // whose sums stay in registers

struct Span {  // label pixels [begin, end) that lie between samples of the crop; others cannot be on
  int64_t begin, end;
};

inline Span span(const Axis& axis, int64_t first, int64_t size) {
  return {axis.begin[first], axis.end[first + size - 1]};
}

inline int64_t groups_of(const Axis& x) { return (x.pixels + kGroup - 1) / kGroup; }

// A byte in all eight places of a word.
inline uint64_t eightfold(uint32_t byte) { return byte * 0x0101010101010101u; }

// The crop's rows interpolated along x; and, eightfold, a bit for every pixel with a sample above T beside it.
inline void interpolate_rows(const CountJob& job, const Box& box, const float* crop, float threshold, Span px,
                             const CountScratch& s) {
  const int64_t groups = groups_of(job.x);
  const int64_t first = px.begin / kGroup, last = (px.end + kGroup - 1) / kGroup;
  const int32_t right = box.width - 1;
  for (int64_t p = first * kGroup; p < last * kGroup; ++p) {
    const int32_t a = job.x.i0[p] - box.x, b = job.x.i1[p] - box.x;
    s.index0[p] = a < 0 ? 0 : a > right ? right : a;
    s.index1[p] = b < 0 ? 0 : b > right ? right : b;
  }
  const auto t = Simd::set(threshold);
  for (int64_t r = 0; r < box.height; ++r) {
    const auto row = Simd::row(crop + r * box.width, box.width);
    for (int64_t g = first; g < last; ++g) {
      uint32_t bits = 0;
      for (int64_t i = 0; i < kGroup; i += Simd::kLanes) {
        const int64_t p = g * kGroup + i;
        const auto a = Simd::pick(row, s.index0 + p), b = Simd::pick(row, s.index1 + p);
        Simd::store(s.rows + r * groups * kGroup + p, Simd::lerp(a, b, Simd::load(job.x.f + p)));
        bits |= (Simd::greater(a, t) | Simd::greater(b, t)) << i;
      }
      if (g * kGroup < px.begin) bits &= 0xffffu << (px.begin - g * kGroup);
      if ((g + 1) * kGroup > px.end) bits &= 0xffffu >> ((g + 1) * kGroup - px.end);
      s.corner[r * 2 * groups + 2 * g] = eightfold(bits & 0xff);
      s.corner[r * 2 * groups + 2 * g + 1] = eightfold(bits >> 8 & 0xff);
    }
  }
}

// One row of tiles: adds its items, and their masks, to the list; gives the list's new length.
inline int64_t add_items(const CountJob& job, const Box& box, float threshold, Span px, int64_t tile_row, int64_t items,
                         const CountScratch& s) {
  const int64_t groups = groups_of(job.x), tiles_x = (job.x.pixels + kTile - 1) / kTile;
  const int64_t first = px.begin / kTile, last = (px.end + kTile - 1) / kTile;
  for (int64_t t = first; t < last; ++t) s.beside[t] = 0;
  const float* low[kTile];
  const float* high[kTile];
  for (int64_t i = 0; i < kTile; ++i) low[i] = high[i] = s.rows;  // rows that no pixel of the crop needs
  for (int64_t y = tile_row * kTile; y < (tile_row + 1) * kTile && y < job.y.pixels;) {
    const int64_t a = job.y.i0[y] - box.y, b = job.y.i1[y] - box.y;
    uint64_t same = 0;  // the rows of the tile between the same two samples
    for (const int64_t i0 = job.y.i0[y], i1 = job.y.i1[y];
         y < (tile_row + 1) * kTile && y < job.y.pixels && job.y.i0[y] == i0 && job.y.i1[y] == i1; ++y) {
      same |= uint64_t{0xff} << (kTile * (y % kTile));
      if (a < 0 || b >= box.height) continue;
      low[y % kTile] = s.rows + a * groups * kGroup;
      high[y % kTile] = s.rows + b * groups * kGroup;
    }
    if (a < 0 || b >= box.height) continue;
    const uint64_t* above = s.corner + a * 2 * groups;
    const uint64_t* below = s.corner + b * 2 * groups;
    for (int64_t t = first; t < last; ++t) s.beside[t] |= (above[t] | below[t]) & same;
  }
  const int64_t before = items;
  for (int64_t t = first; t < last; ++t) {
    s.item[items] = static_cast<int32_t>(t);
    s.mask[items] = s.beside[t];
    items += s.beside[t] != 0;
  }
  const auto bar = Simd::set(threshold);
  const float* weights = job.y.eightfold + tile_row * kTile * kTile;
  for (int64_t i = before; i < items; ++i) {
    s.mask[i] &= Simd::tile(low, high, s.item[i] * kTile, weights, bar);
    s.item[i] += static_cast<int32_t>(tile_row * tiles_x);
  }
  return items;
}

// count[slot] = pixels of the items' masks with each concept.
inline void tally(const CountScratch& s, int64_t items, const uint64_t* words, int64_t slots) {
  for (int64_t first = 0; first < slots; first += kMostBlocks * kBlock) {
    const int64_t blocks = (slots - first) / kBlock;
    int64_t* count = s.count + first;
    if (blocks >= 4)
      Simd::template tally<4>(s.mask, s.item, items, words + first, slots, count);
    else if (blocks == 3)
      Simd::template tally<3>(s.mask, s.item, items, words + first, slots, count);
    else if (blocks == 2)
      Simd::template tally<2>(s.mask, s.item, items, words + first, slots, count);
    else
      Simd::template tally<1>(s.mask, s.item, items, words + first, slots, count);
  }
}

inline void count_crop(const CountJob& job, int64_t image, int64_t crop, const CountScratch& s) {
  const Box box = job.crops.box[crop];
  const int64_t unit = job.crops.unit[crop];
  const float threshold = job.thresholds[unit];
  const Span px = span(job.x, box.x, box.width), py = span(job.y, box.y, box.height);
  if (px.begin >= px.end || py.begin >= py.end) return;

  const Labels& labels = job.labels;
  const int64_t slots = labels.slot_start[image + 1] - labels.slot_start[image];
  const int32_t* concept_of = labels.slot_concept + labels.slot_start[image];
  int64_t* intersection = job.intersection + unit * job.concepts;
  for (int64_t slot = 0; slot < slots; ++slot)  // long before they are added to
    if (concept_of[slot] >= 0) __builtin_prefetch(intersection + concept_of[slot], 1);

  interpolate_rows(job, box, job.crops.values + job.crops.start[crop], threshold, px, s);
  int64_t items = 0, area = 0;
  for (int64_t ty = py.begin / kTile; ty * kTile < py.end; ++ty)
    items = add_items(job, box, threshold, px, ty, items, s);
  for (int64_t i = 0; i < items; ++i) area += Simd::popcount(s.mask[i]);
  if (!area) return;
  tally(s, items, labels.words + labels.word_start[image], slots);
  for (int64_t slot = 0; slot < slots; ++slot)
    if (concept_of[slot] >= 0) intersection[concept_of[slot]] += s.count[slot];
  for (int64_t i = labels.whole_start[image]; i < labels.whole_start[image + 1]; ++i)
    intersection[labels.whole[i]] += area;
  for (int64_t c = 0; c < labels.categories; ++c)
    if (labels.present[image * labels.categories + c]) job.unit_area[unit * labels.categories + c] += area;
}

inline int64_t lower_bound(const int32_t* units, int64_t first, int64_t last, int64_t unit) {
  while (first < last) {
    const int64_t middle = first + (last - first) / 2;
    if (units[middle] < unit)
      first = middle + 1;
    else
      last = middle;
  }
  return first;
}

void count(const CountJob& job, int64_t first, int64_t last, const CountScratch& scratch) {
  for (int64_t image = 0; image < job.labels.images; ++image) {
    const int64_t end = job.image_start[image + 1];
    for (int64_t crop = lower_bound(job.crops.unit, job.image_start[image], end, first);
         crop < end && job.crops.unit[crop] < last; ++crop)
      count_crop(job, image, crop, scratch);
  }
}
