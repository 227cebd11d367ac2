// What every instruction-set variant exports: one table of kernels. Plain types only: the variants are compiled
// for different CPUs, so they may share nothing inline (the linker would merge it).
#pragma once

#include "crops.h"
#include "labels.h"

namespace netdissect {

struct Kernels {
  const char* name;
  // keep: adds the crops of units [first, last) of one image of the batch. map_scratch: [H, W].
  void (*keep)(const KeepJob& job, int64_t image, int64_t first, int64_t last, float* map_scratch, Kept* kept);
  // count: adds the intersections and areas of units [first, last).
  void (*count)(const CountJob& job, int64_t first, int64_t last, const CountScratch& scratch);
  // masks: the words [P, tiles] of crops [first, last), which are 0 before.
  void (*masks)(const MaskJob& job, int64_t first, int64_t last, const CountScratch& scratch, uint64_t* words);
  // For prune: what is left of crops [first, last) above higher bounds.
  void (*shrink)(const Crops& crops, const float* bounds, int64_t first, int64_t last, Box* left);
  // For kth_largest: how many values of crops [first, last) exceed their unit's bound; then those values.
  void (*count_above)(const Crops& crops, const float* bounds, int64_t first, int64_t last, int64_t* count);
  void (*gather_above)(const Crops& crops, const float* bounds, int64_t first, int64_t last, float* values_out,
                       int64_t* place);
};

extern const Kernels kBaseline, kAvx2, kAvx512, kNeon;

}  // namespace netdissect
