// Crops and activations as flat arrays: the contract between Python, C++ and CUDA.
// A crop is the bounding box, dilated by one, of the positions of one (image, unit) map above the unit's bound.
#pragma once

#include <cstdint>

namespace netdissect {

enum class Dtype : int32_t { kFloat32, kFloat16, kBFloat16 };

// Axis letters: B images of a batch, U units, H×W activation grid. Strides in elements.
struct Maps {
  const void* data;
  Dtype dtype;
  int64_t images, units, height, width;
  int64_t image_stride, unit_stride, row_stride, column_stride;
};

struct Box {  // rows y .. y+height-1, columns x .. x+width-1; height 0 = no crop
  uint16_t y, x, height, width;
};

struct Crops {
  int64_t count;
  const int32_t* image;  // [P] ascending
  const int32_t* unit;   // [P] ascending within an image
  const Box* box;        // [P]
  const int64_t* start;  // [P+1] into values
  const float* values;   // row by row, crop after crop
};

struct KeepJob {
  Maps maps;
  const float* bounds;  // [U]
};

constexpr int64_t kMostLanes = 16;  // floats of the longest vector

// Crops of some units of one image, with room for all of their maps and kMostLanes values more: vectors are stored
// whole.
struct Kept {
  int32_t* unit;
  Box* box;
  float* values;
  int64_t crops, size;
  int64_t nonfinite;  // first unit with a NaN or an infinity; -1 = none
};

}  // namespace netdissect
