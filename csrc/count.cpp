// Finds each image's crops, gives every thread its working memory, and runs the kernels count and masks (count.h).
#include "count.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "parallel.h"
#include "require.h"

namespace netdissect {
namespace {

struct ScratchMemory {
  std::vector<uint64_t> above, mask;
  std::vector<float> rows;
  std::vector<const float*> strips;
  std::vector<int32_t> item;
  std::vector<int64_t> count;

  ScratchMemory(const MaskJob& job, int64_t tallest, int64_t slots)
      : above(static_cast<size_t>(tallest * job.x.tile_words)),
        mask(static_cast<size_t>(job.y.tiles * job.x.tiles + 1)),
        rows(static_cast<size_t>(tallest * job.x.padded)),
        strips(static_cast<size_t>(job.y.tiles) * 2 * kTile),
        item(static_cast<size_t>(job.y.tiles * job.x.tiles + kTile)),
        count(static_cast<size_t>(slots)) {}
  CountScratch view() { return {above.data(), rows.data(), strips.data(), item.data(), mask.data(), count.data()}; }
};

int64_t tallest_crop(const Crops& crops) {
  int64_t tallest = 1;
  for (int64_t i = 0; i < crops.count; ++i) tallest = std::max<int64_t>(tallest, crops.box[i].height);
  return tallest;
}

int64_t most_slots(const Labels& labels) {
  int64_t most = 0;
  for (int64_t i = 0; i < labels.images; ++i) most = std::max(most, labels.slot_start[i + 1] - labels.slot_start[i]);
  return most;
}

// Where each image's crops start; checks their order.
std::vector<int64_t> image_starts(const Crops& crops, int64_t first_image, int64_t images) {
  std::vector<int64_t> start(static_cast<size_t>(images) + 1, 0);
  for (int64_t i = 0; i < crops.count; ++i) {
    const uint64_t image = static_cast<uint64_t>(crops.image[i]) - static_cast<uint64_t>(first_image);
    require(image < static_cast<uint64_t>(images), "crop ", i, " is of an image without labels");
    require(!i || std::tie(crops.image[i - 1], crops.unit[i - 1]) < std::tie(crops.image[i], crops.unit[i]),
            "crops must ascend by image, then unit");
    ++start[image + 1];
  }
  std::partial_sum(start.begin(), start.end(), start.begin());
  return start;
}

}  // namespace

void count(const Kernels& kernels, CountJob job, int64_t first_image, int64_t threads) {
  const std::vector<int64_t> start = image_starts(job.masks.crops, first_image, job.labels.images);
  job.image_start = start.data();
  const int64_t tallest = tallest_crop(job.masks.crops), slots = most_slots(job.labels);
  parallel_ranges(job.masks.units, threads, [&](int64_t first, int64_t last, int64_t) {
    ScratchMemory scratch(job.masks, tallest, slots);
    kernels.count(job, first, last, scratch.view());
  });
}

std::vector<uint64_t> masks(const Kernels& kernels, const MaskJob& job, int64_t threads) {
  std::vector<uint64_t> words(static_cast<size_t>(job.crops.count * job.y.tiles * job.x.tiles));
  const int64_t tallest = tallest_crop(job.crops);
  parallel_ranges(job.crops.count, threads, [&](int64_t first, int64_t last, int64_t) {
    ScratchMemory scratch(job, tallest, 0);
    kernels.masks(job, first, last, scratch.view(), words.data());
  });
  return words;
}

}  // namespace netdissect
