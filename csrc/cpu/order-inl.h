// What pruning asks of the kept values, written once: included by every variant after its `Simd` (plain-inl.h).

inline int64_t values_in(const Crops& crops, int64_t crop) { return crops.start[crop + 1] - crops.start[crop]; }

// What is left of crops [first, last) above the bounds, dilated by one but never beyond the old crop: what lay outside
// it is at most the old, lower bound. Height 0 where nothing is.
void shrink(const Crops& crops, const float* bounds, int64_t first, int64_t last, Box* left) {
  for (int64_t crop = first; crop < last; ++crop) {
    const Box old = crops.box[crop];
    left[crop] = dilated_box(crops.values + crops.start[crop], old.height, old.width, bounds[crops.unit[crop]]);
    left[crop].y = static_cast<uint16_t>(left[crop].y + old.y);
    left[crop].x = static_cast<uint16_t>(left[crop].x + old.x);
  }
}

// Per unit, how many values of crops [first, last) exceed its bound; added to `count`.
void count_above(const Crops& crops, const float* bounds, int64_t first, int64_t last, int64_t* count) {
  for (int64_t crop = first; crop < last; ++crop) {
    const int64_t unit = crops.unit[crop], size = values_in(crops, crop);
    const float* values = crops.values + crops.start[crop];
    const auto bound = Simd::set(bounds[unit]);
    int64_t found = 0;
    for (int64_t i = 0; i < size; i += Simd::kLanes)
      found += Simd::popcount(above(values + i, at_most(Simd::kLanes, size - i), bound));
    count[unit] += found;
  }
}

// Copies those values to where their unit's next ones go.
void gather_above(const Crops& crops, const float* bounds, int64_t first, int64_t last, float* values_out,
                  int64_t* place) {
  for (int64_t crop = first; crop < last; ++crop) {
    const int64_t unit = crops.unit[crop], size = values_in(crops, crop);
    const float* values = crops.values + crops.start[crop];
    const auto bound = Simd::set(bounds[unit]);
    int64_t to = place[unit];
    for (int64_t i = 0; i < size; i += Simd::kLanes) {
      const uint32_t bits = above(values + i, at_most(Simd::kLanes, size - i), bound);
      to += Simd::store_only(values_out + to, bits, values + i);
    }
    place[unit] = to;
  }
}
