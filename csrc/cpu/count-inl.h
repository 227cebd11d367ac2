// count and masks. Part of kernels-inl.h. Twin: gpu/count.cu. A crop's rows are interpolated along x; then it becomes a
// compact list of items: 8×8 tiles of label pixels in which a row above or below a pixel exceeds T. Then two loops
// without branches: the mask word of every item, and its popcounts against the concepts' words.
//
// Nothing else can be on: for a ≤ b and a weight f < 1 the rounded f·(b − a) is at most the true b − a, so that the
// rounded a + f·(b − a) never exceeds b. For the same reason a pixel with no corner sample above T stays off by itself.
// Only if b − a may overflow are all tiles listed, and the corners of every pixel checked (spec 1.3).

constexpr int64_t kBlock = 8;             // slots come in blocks of 8
constexpr int64_t kMostBlocks = 4;        // whose sums stay in registers
constexpr float kLargestSafe = 0x1p126f;  // the difference of two values below it does not overflow

struct PixelRange {
  int64_t begin, end;
};

struct TileRange {
  int64_t begin, end;
};

// Label pixels that lie between samples of the crop; others cannot be on.
inline PixelRange covered_pixels(const Axis& axis, int64_t first, int64_t size) {
  return {axis.begin[first], axis.end[first + size - 1]};
}

inline TileRange tiles_of(const PixelRange& pixels) { return {pixels.begin / kTile, (pixels.end + kTile - 1) / kTile}; }

// A byte for each of the 8 tiles from `first` on, set if the tile lies in tx.
inline uint64_t all_tiles(TileRange tx, int64_t first) {
  uint64_t bytes = 0;
  for (int64_t t = 0; t < kTile; ++t)
    if (first + t >= tx.begin && first + t < tx.end) bytes |= uint64_t{0xff} << (kTile * t);
  return bytes;
}

inline bool may_overflow(const float* values, int64_t size) {
  auto largest = Simd::set(0.0f);
  for (int64_t i = 0; i < size; i += Simd::kLanes)
    largest = Simd::max(largest, magnitude<Simd>(Simd::load_some(values + i, at_most(Simd::kLanes, size - i))));
  return Simd::greater(largest, Simd::set(kLargestSafe)) != 0;
}

// The crop's rows interpolated along x, and a bit for every pixel above T. Beyond the crop its edge is repeated, which
// is at most T.
inline void interpolate_rows(const MaskJob& job, const Box& box, const float* crop, float threshold, TileRange tx,
                             const CountScratch& scratch) {
  const auto t = Simd::set(threshold);
  for (int64_t r = 0; r < box.height; ++r)
    for (int64_t w = tx.begin / kTile; w * kTile < tx.end; ++w) scratch.above[r * job.x.tile_words + w] = 0;
  auto* bits = reinterpret_cast<uint8_t*>(scratch.above);
  for (int64_t p = tx.begin * kTile / kGroup * kGroup; p < tx.end * kTile; p += kGroup)
    for (int64_t i = p; i < p + kGroup; i += Simd::kLanes) {
      const auto a = Simd::index(job.x.i0 + i, box.x, box.width), b = Simd::index(job.x.i1 + i, box.x, box.width);
      const auto f = Simd::load(job.x.f + i);
      for (int64_t r = 0; r < box.height; ++r) {
        const auto row = Simd::row(crop + r * box.width, box.width);
        const auto values = lerp<Simd>(Simd::pick(row, a), Simd::pick(row, b), f);
        Simd::store(scratch.rows + r * job.x.padded + i, values);
        Simd::add_bits(bits + r * job.x.tile_words * kTile, i, Simd::greater(values, t));
      }
    }
}

// The crop rows that a row of tiles interpolates between: its 8 pixel rows have one pair, two, or (kPairs 8) more.
template <int64_t kPairs>
struct Strip {
  const float* low[kPairs];
  const float* high[kPairs];
};

// Adds a row of tiles: its strip, and those of its tiles that may be on. Returns the list's new length.
template <int64_t kPairs>
int64_t add_items(const MaskJob& job, const Box& box, TileRange tx, int64_t ty, bool all, int64_t items,
                  const CountScratch& scratch) {
  constexpr int64_t kStep = kPairs == 2 ? kTile - 1 : 1;
  auto& strip = static_cast<Strip<kPairs>*>(scratch.strips)[ty];
  const uint64_t* rows[2 * kPairs];
  for (int64_t i = 0; i < kPairs; ++i) {
    const int64_t y = ty * kTile + i * kStep;
    const int64_t a = clamp(job.y.i0[y] - box.y, box.height - 1), b = clamp(job.y.i1[y] - box.y, box.height - 1);
    strip.low[i] = scratch.rows + a * job.x.padded, strip.high[i] = scratch.rows + b * job.x.padded;
    rows[2 * i] = scratch.above + a * job.x.tile_words, rows[2 * i + 1] = scratch.above + b * job.x.tile_words;
  }
  for (int64_t w = tx.begin / kTile; w * kTile < tx.end; ++w) {
    uint64_t tiles = 0;  // one byte per tile
    for (const uint64_t* row : rows) tiles |= row[w];
    if (all) tiles = all_tiles(tx, w * kTile);
    items = Simd::append_tiles(tiles, static_cast<int32_t>(ty << 16 | w * kTile), items, scratch.item);
  }
  return items;
}

// Pixels of a tile with a corner sample above T.
inline uint64_t corner_mask(const MaskJob& job, const Box& box, const float* crop, float threshold, int64_t ty,
                            int64_t tx) {
  const auto above_t = [&](int64_t y, int64_t x) {
    y -= box.y, x -= box.x;
    return y >= 0 && x >= 0 && y < box.height && x < box.width && crop[y * box.width + x] > threshold;
  };
  uint64_t mask = 0;
  for (int64_t i = 0; i < kTile * kTile; ++i) {
    const int64_t y = ty * kTile + i / kTile, x = tx * kTile + i % kTile;
    const int64_t top = job.y.i0[y], bottom = job.y.i1[y], left = job.x.i0[x], right = job.x.i1[x];
    const bool on = above_t(top, left) || above_t(top, right) || above_t(bottom, left) || above_t(bottom, right);
    mask |= static_cast<uint64_t>(on) << i;
  }
  return mask;
}

// count[slot] = pixels of the items' masks with each concept.
inline void tally(const CountScratch& scratch, int64_t items, const uint64_t* words, int64_t slots) {
  for (int64_t first = 0; first < slots; first += kMostBlocks * kBlock) {
    const int64_t blocks = (slots - first) / kBlock;
    int64_t* count = scratch.count + first;
    if (blocks >= 4)
      Simd::template count_bits<4>(scratch.mask, scratch.item, items, words + first, slots, count);
    else if (blocks == 3)
      Simd::template count_bits<3>(scratch.mask, scratch.item, items, words + first, slots, count);
    else if (blocks == 2)
      Simd::template count_bits<2>(scratch.mask, scratch.item, items, words + first, slots, count);
    else
      Simd::template count_bits<1>(scratch.mask, scratch.item, items, words + first, slots, count);
  }
}

// The crop's mask as a list of tiles: scratch.item their numbers, scratch.mask their words, none of them 0. Returns its
// length and adds its pixels to `area`. Calls prefetch(tile) for every tile that may be in it.
template <int64_t kPairs, class Prefetch>
int64_t list_mask(const MaskJob& job, int64_t crop, const CountScratch& scratch, int64_t* area,
                  const Prefetch& prefetch) {
  const Box box = job.crops.box[crop];
  const float threshold = job.thresholds[job.crops.unit[crop]];
  const PixelRange px = covered_pixels(job.x, box.x, box.width), py = covered_pixels(job.y, box.y, box.height);
  if (px.begin >= px.end || py.begin >= py.end) return 0;
  const float* values = job.crops.values + job.crops.start[crop];
  const TileRange tx = tiles_of(px), ty = tiles_of(py);
  const bool check_corners = may_overflow(values, values_in(job.crops, crop));
  interpolate_rows(job, box, values, threshold, tx, scratch);
  int64_t listed = 0;
  for (int64_t t = ty.begin; t < ty.end; ++t)
    listed = add_items<kPairs>(job, box, tx, t, check_corners, listed, scratch);
  const auto* strips = static_cast<const Strip<kPairs>*>(scratch.strips);
  const auto limit = Simd::set(threshold);
  int64_t items = 0;
  for (int64_t i = 0; i < listed; ++i) {
    const int64_t row = scratch.item[i] >> 16, column = scratch.item[i] & 0xffff;
    uint64_t mask =
        Simd::template tile<kPairs>(strips[row].low, strips[row].high, column * kTile,
                                    job.y.weights_by_8 + row * kTile * kTile, job.y.second_pair[row], limit);
    if (check_corners) mask &= corner_mask(job, box, values, threshold, row, column);
    const int64_t tile = row * job.x.tiles + column;
    prefetch(tile);
    scratch.item[items] = static_cast<int32_t>(tile);
    scratch.mask[items] = mask;
    items += mask != 0;
    *area += Simd::popcount(mask);
  }
  return items;
}

template <int64_t kPairs>
void count_crop(const CountJob& job, int64_t image, int64_t crop, const CountScratch& scratch) {
  const int64_t unit = job.masks.crops.unit[crop];
  const Labels& labels = job.labels;
  const int64_t slots = labels.slot_start[image + 1] - labels.slot_start[image];
  const int32_t* concept_of = labels.slot_concept + labels.slot_start[image];
  int64_t* intersection = job.intersection + unit * job.concepts;
  for (int64_t slot = 0; slot < slots; ++slot)  // long before they are added to
    if (concept_of[slot] >= 0) __builtin_prefetch(intersection + concept_of[slot], 1);

  const uint64_t* words = labels.words + labels.word_start[image];
  int64_t area = 0;
  const int64_t items = list_mask<kPairs>(job.masks, crop, scratch, &area, [&](int64_t tile) {
    for (int64_t slot = 0; slot < slots; slot += kBlock) __builtin_prefetch(words + tile * slots + slot);
  });
  if (!area) return;
  tally(scratch, items, words, slots);
  for (int64_t slot = 0; slot < slots; ++slot)
    if (concept_of[slot] >= 0) intersection[concept_of[slot]] += scratch.count[slot];
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

template <int64_t kPairs>
void count_units(const CountJob& job, int64_t first, int64_t last, const CountScratch& scratch) {
  const int32_t* unit = job.masks.crops.unit;
  for (int64_t image = 0; image < job.labels.images; ++image) {
    const int64_t end = job.image_start[image + 1];
    for (int64_t crop = lower_bound(unit, job.image_start[image], end, first); crop < end && unit[crop] < last; ++crop)
      count_crop<kPairs>(job, image, crop, scratch);
  }
}

void count(const CountJob& job, int64_t first, int64_t last, const CountScratch& scratch) {
  if (job.masks.y.pairs == 1)
    count_units<1>(job, first, last, scratch);
  else if (job.masks.y.pairs == 2)
    count_units<2>(job, first, last, scratch);
  else
    count_units<kTile>(job, first, last, scratch);
}

void masks(const MaskJob& job, int64_t first, int64_t last, const CountScratch& scratch, uint64_t* words) {
  for (int64_t crop = first; crop < last; ++crop) {
    int64_t area = 0;
    const int64_t items = list_mask<kTile>(job, crop, scratch, &area, [](int64_t) {});
    uint64_t* mask = words + crop * job.y.tiles * job.x.tiles;
    for (int64_t i = 0; i < items; ++i) mask[scratch.item[i]] = scratch.mask[i];
  }
}
