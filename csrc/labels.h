// Packed labels and axis tables as flat arrays, and the job of the count kernel. Layout: PackedLabels in concepts.py.
#pragma once

#include <cstdint>

#include "crops.h"

namespace netdissect {

constexpr int64_t kTile = 8;    // side of a tile in label pixels: 64 of them are the bits of a word
constexpr int64_t kGroup = 16;  // label pixels interpolated together along x: two tiles

// Label pixel p interpolates features i0[p], i1[p] with weight f[p] on i1. Pixels are padded to a multiple of 16 with
// weight NaN, so that they are never on.
struct Axis {
  int64_t padded, tiles;
  int64_t tile_words;  // words that hold one byte per tile
  const int32_t* i0;
  const int32_t* i1;
  const float* f;
  const int32_t* begin;         // [features] first pixel whose i0 is not below the feature
  const int32_t* end;           // [features] one past the last pixel whose i1 is not above it
  const float* weights_by_8;    // [padded, 8] f of each pixel eight times
  int64_t pairs;                // the most pairs (i0, i1) that one tile has
  const uint64_t* second_pair;  // [tiles] the bytes of the tile's rows that lie between the last pixel's samples
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

struct MaskJob {
  Crops crops;
  const float* thresholds;  // [U]
  int64_t units;
  Axis y, x;
};

struct CountJob {
  MaskJob masks;               // of the labels' images
  const int64_t* image_start;  // [N+1] into crops
  Labels labels;
  int64_t concepts;
  int64_t* intersection;  // [U, C], added to
  int64_t* unit_area;     // [U, categories], added to
};

// Working memory of one thread.
struct CountScratch {
  uint64_t* above;  // [tallest crop, x.tile_words] a bit for every pixel of the interpolated rows above T
  float* rows;      // [tallest crop, x.padded] crop rows interpolated along x
  void* strips;     // [tile rows] 16 pointers each
  int32_t* item;    // [tiles + 8] tile row << 16 | tile column; then the tile's number
  uint64_t* mask;   // [tiles + 1]
  int64_t* count;   // [most slots]
};

}  // namespace netdissect
