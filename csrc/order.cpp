// The rank-th largest value of every unit, in two passes over the crops (order.h).
#include "order.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/select.h"
#include "parallel.h"

namespace netdissect {
namespace {

// The rank-th largest of n values. A sample nearly always yields two values that it lies between: then only the few
// between them are ordered (Floyd and Rivest 1975).
float nth_largest(float* values, int64_t n, int64_t rank, std::vector<float>* scratch) {
  constexpr int64_t kSample = 128, kAside = 14;  // two and a half standard deviations of a place in the sample
  if (n > 4 * kSample) {
    float sample[kSample];
    for (int64_t i = 0; i < kSample; ++i) sample[i] = values[i * n / kSample];
    const int64_t place = rank * kSample / n, deep = std::min(kSample - 1, place + kAside);
    std::nth_element(sample, sample + deep, sample + kSample, std::greater<>());
    const float low = sample[deep];
    float high = HUGE_VALF;
    if (place >= kAside) {
      std::nth_element(sample, sample + place - kAside, sample + deep, std::greater<>());
      high = sample[place - kAside];
    }
    scratch->resize(static_cast<size_t>(n) + 1);
    float *first = scratch->data(), *last = first;
    int64_t above = 0;
    for (int64_t i = 0; i < n; ++i) {  // without a branch
      *last = values[i];
      above += values[i] > high;
      last += static_cast<int>(values[i] > low) & static_cast<int>(!(values[i] > high));
    }
    if (above < rank && rank <= above + (last - first)) {
      std::nth_element(first, first + (rank - above) - 1, last, std::greater<>());
      return first[rank - above - 1];
    }
  }
  std::nth_element(values, values + rank - 1, values + n, std::greater<>());
  return values[rank - 1];
}

}  // namespace

void kth_largest(const Crops& crops, int64_t units, const float* bounds, int64_t rank, int64_t threads, float* result) {
  // Each part of the crops counts its values above the bounds, unit by unit; then every part knows its places.
  const Kernels& kernels = select_kernels("");
  const auto parts = static_cast<size_t>(std::max<int64_t>(1, std::min(threads, crops.count)));
  const auto count = static_cast<size_t>(units);
  std::vector<int64_t> place(parts * count, 0), end(count, 0);
  const auto places = [&](int64_t part) { return place.data() + static_cast<size_t>(part) * count; };
  parallel_ranges(crops.count, threads, [&](int64_t first, int64_t last, int64_t part) {
    kernels.count_above(crops, bounds, first, last, places(part));
  });
  int64_t total = 0;
  for (size_t u = 0; u < count; ++u) {
    for (size_t part = 0; part < parts; ++part) total += std::exchange(place[part * count + u], total);
    end[u] = total;
  }
  const std::unique_ptr<float[]> tails(new float[static_cast<size_t>(total)]);
  parallel_ranges(crops.count, threads, [&](int64_t first, int64_t last, int64_t part) {
    kernels.gather_above(crops, bounds, first, last, tails.get(), places(part));
  });
  parallel_ranges(units, threads, [&](int64_t first, int64_t last, int64_t) {
    std::vector<float> scratch;
    for (int64_t u = first; u < last; ++u) {
      const int64_t begin = u ? end[static_cast<size_t>(u) - 1] : 0, n = end[static_cast<size_t>(u)] - begin;
      result[u] = n < rank ? bounds[u] : nth_largest(tails.get() + begin, n, rank, &scratch);
    }
  });
}

}  // namespace netdissect
