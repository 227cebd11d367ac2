// What prune leaves of each crop. Part of kernels-inl.h.

// The boxes of what is left of crops [first, last) above the bounds, dilated by one but never beyond the old crop: what
// lay outside it is at most the old, lower bound. Height 0 if nothing is.
void shrink(const Crops& crops, const float* bounds, int64_t first, int64_t last, Box* left) {
  for (int64_t crop = first; crop < last; ++crop) {
    const Box old = crops.box[crop];
    left[crop] = dilated_box(crops.values + crops.start[crop], old.height, old.width, bounds[crops.unit[crop]]);
    left[crop].y = static_cast<uint16_t>(left[crop].y + old.y);
    left[crop].x = static_cast<uint16_t>(left[crop].x + old.x);
  }
}
