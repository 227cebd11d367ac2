// Values above the bounds, counted and gathered: the passes of kth_largest. Part of kernels-inl.h.

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

// Copies those values to place[unit], and moves it on.
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
