// Packed labels and axis tables as flat arrays, and the job of the count kernel. Layout: PackedLabels in concepts.py.
#pragma once

#include <cstdint>

#include "crops.h"

namespace netdissect {

// Label pixel p interpolates features i0[p], i1[p] with weight f[p] on i1. Padded to a multiple of 16 pixels.
struct Axis {
  int64_t pixels, features;
  const int32_t* i0;
  const int32_t* i1;
  const float* f;
  const int32_t* begin;    // [features] first pixel whose i0 is not below the feature
  const int32_t* end;      // [features] one past the last pixel whose i1 is not above it
  const float* eightfold;  // [pixels, 8] f of each pixel eight times
};

struct Labels {  // of consecutive images, all on the same Y×X grid
  int64_t images, categories;
  const int64_t* slot_start;    // [N+1]
  const int32_t* slot_concept;  // column, -1 = padding
  const int64_t* word_start;    // [N+1]
  const uint64_t* words;        // per image [tiles, slots]
  const int64_t* whole_start;   // [N+1]
  const int32_t* whole;         // columns of whole-image concepts
  const uint8_t* present;       // [N, categories]
};

struct CountJob {
  Crops crops;                 // of these images
  const int64_t* image_start;  // [N+1] into crops
  const float* thresholds;     // [U]
  Axis y, x;
  Labels labels;
  int64_t concepts;
  int64_t* intersection;  // [U, C], added to
  int64_t* unit_area;     // [U, categories], added to
};

// Working memory of one thread, sized by count_scratch().
struct CountScratch {
  int32_t* index0;   // [X16]
  int32_t* index1;   // [X16]
  float* rows;       // [tallest crop, X16] crop rows interpolated along x
  uint64_t* corner;  // [tallest crop, X16 / 8] a sample beside the pixel exceeds T, one byte eight times
  uint64_t* beside;  // [X16 / 8] the same for the pixels of one row of tiles
  int32_t* item;     // [tiles + 1] tile number
  uint64_t* mask;    // [tiles + 1]
  int64_t* count;    // [most slots]
};

}  // namespace netdissect
