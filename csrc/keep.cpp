// Cuts a batch of maps into pieces that stay in the nearest cache, and merges the crops of all threads (keep.h).
#include "keep.h"

#include <algorithm>
#include <memory>

#include "parallel.h"

namespace netdissect {
namespace {

// Units of one image that are scanned in one go: few enough for their crops to stay in the nearest cache.
int64_t units_at_once(const Maps& maps) {
  constexpr int64_t kValues = 16384, kMultiple = 16;  // units side by side are scanned 16 at a time
  return std::max<int64_t>(1, kValues / kMultiple / std::max<int64_t>(1, maps.height * maps.width)) * kMultiple;
}

void append(const KeptCrops& more, KeptCrops* all) {
  all->image.insert(all->image.end(), more.image.begin(), more.image.end());
  all->unit.insert(all->unit.end(), more.unit.begin(), more.unit.end());
  all->box.insert(all->box.end(), more.box.begin(), more.box.end());
  all->values.insert(all->values.end(), more.values.begin(), more.values.end());
  all->nonfinite = more.nonfinite;
}

// Pieces [first, last) of the batch; every image has ceil(U / units) of them.
KeptCrops keep_pieces(const Kernels& kernels, const KeepJob& job, int64_t first_image, int64_t units, int64_t first,
                      int64_t last) {
  const Maps& maps = job.maps;
  const int64_t pieces = (maps.units + units - 1) / units;
  const auto map_size = static_cast<size_t>(maps.height * maps.width), most = static_cast<size_t>(units);
  std::vector<int32_t> unit(most);
  std::vector<Box> box(most);
  const std::unique_ptr<float[]> values(new float[most * map_size + kMostLanes]), map(new float[map_size + kMostLanes]);
  KeptCrops all;
  for (int64_t piece = first; piece < last && !all.nonfinite; ++piece) {
    const int64_t image = piece / pieces, begin = piece % pieces * units, end = std::min(begin + units, maps.units);
    Kept kept{unit.data(), box.data(), values.get(), 0, 0, -1};
    kernels.keep(job, image, begin, end, map.get(), &kept);
    if (kept.nonfinite >= 0) all.nonfinite = {first_image + image, kept.nonfinite};
    all.image.insert(all.image.end(), static_cast<size_t>(kept.crops), static_cast<int32_t>(first_image + image));
    all.unit.insert(all.unit.end(), kept.unit, kept.unit + kept.crops);
    all.box.insert(all.box.end(), kept.box, kept.box + kept.crops);
    all.values.insert(all.values.end(), kept.values, kept.values + kept.size);
  }
  return all;
}

}  // namespace

KeptCrops keep(const Kernels& kernels, const KeepJob& job, int64_t first_image, int64_t threads) {
  const Maps& maps = job.maps;
  const int64_t units = units_at_once(maps), pieces = maps.images * ((maps.units + units - 1) / units);
  std::vector<KeptCrops> parts(static_cast<size_t>(std::max<int64_t>(1, std::min(threads, pieces))));
  if (maps.height && maps.width)
    parallel_ranges(pieces, threads, [&](int64_t first, int64_t last, int64_t part) {
      parts[static_cast<size_t>(part)] = keep_pieces(kernels, job, first_image, units, first, last);
    });
  for (size_t i = 1; i < parts.size() && !parts[0].nonfinite; ++i) append(parts[i], &parts[0]);
  return std::move(parts[0]);
}

}  // namespace netdissect
