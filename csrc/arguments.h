// The arguments of the kernels as NumPy arrays, checked so that no kernel reads or writes out of bounds.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "arrays.h"
#include "axis.h"
#include "crops.h"
#include "labels.h"

namespace netdissect {

constexpr int64_t kLargestSide = 65535;             // Box is uint16
constexpr int64_t kMostPixels = kTile * INT16_MAX;  // an item's tile row and column have 16 bits each

static_assert(sizeof(Box) == 4 * sizeof(uint16_t));

inline int64_t positive(int64_t value, const char* name) {
  require(value >= 1, name, " must be at least 1, got ", value);
  return value;
}

inline Maps view_maps(const py::array& array, bool bfloat16) {
  if (array.ndim() != 4) value_error("maps must be [B, U, H, W], got " + std::to_string(array.ndim()) + " axes");
  Maps maps{};
  if (bfloat16 && array.dtype().equal(py::dtype::of<uint16_t>()))
    maps.dtype = Dtype::kBFloat16;
  else if (!bfloat16 && array.dtype().equal(py::dtype::of<float>()))
    maps.dtype = Dtype::kFloat32;
  else if (!bfloat16 && array.dtype().equal(py::dtype("float16")))
    maps.dtype = Dtype::kFloat16;
  else
    type_error("maps must be float32, float16, or bfloat16 given as uint16, got " +
               std::string(py::str(array.dtype())));
  const auto item = array.itemsize();
  int64_t strides[4];
  for (int i = 0; i < 4; ++i) {
    require(array.strides(i) % item == 0, "maps has a stride that is not a whole number of elements");
    strides[i] = array.strides(i) / item;
  }
  require(reinterpret_cast<uintptr_t>(array.data()) % static_cast<uintptr_t>(item) == 0, "maps is not aligned");
  require(array.shape(2) <= kLargestSide && array.shape(3) <= kLargestSide, "maps larger than 65535 on a side");
  maps.data = array.data();
  maps.images = array.shape(0), maps.units = array.shape(1);
  maps.height = array.shape(2), maps.width = array.shape(3);
  maps.image_stride = strides[0], maps.unit_stride = strides[1];
  maps.row_stride = strides[2], maps.column_stride = strides[3];
  return maps;
}

struct CropArrays {
  View<int32_t> image, unit;
  View<uint16_t> box;
  View<float> values;
  int64_t count() const { return image.size(); }
  const Box* boxes() const { return reinterpret_cast<const Box*>(box.data()); }

  CropArrays(const py::array& i, const py::array& u, const py::array& b, const py::array& v, bool writable = false)
      : image(i, "image", {kAny}, writable),
        unit(u, "unit", {image.size()}, writable),
        box(b, "box", {image.size(), 4}, writable),
        values(v, "values", {kAny}, writable) {}

  // Where each crop's values start; checks that crops, units and values fit together.
  std::vector<int64_t> starts(int64_t units) const {
    std::vector<int64_t> start(static_cast<size_t>(count()) + 1, 0);
    for (int64_t i = 0; i < count(); ++i) {
      const Box b = boxes()[i];
      require(unit.data()[i] >= 0 && unit.data()[i] < units, "unit out of range in crop ", i);
      require(b.height && b.width, "empty crop ", i);
      start[static_cast<size_t>(i) + 1] = start[static_cast<size_t>(i)] + static_cast<int64_t>(b.height) * b.width;
    }
    require(start.back() == values.size(), "values does not hold what the boxes say");
    return start;
  }
  Crops crops(const std::vector<int64_t>& start) const {
    return {count(), image.data(), unit.data(), boxes(), start.data(), values.data()};
  }
};

// An axis table (i0, i1, f) from Python.
inline AxisTable axis_table(const py::tuple& table, int64_t features, const std::string& name) {
  require(table.size() == 3, name, " must be (i0, i1, f)");
  const View<int32_t> first(table[0].cast<py::array>(), name + " i0", {kAny});
  require(first.size() <= kMostPixels, name, " has more than ", kMostPixels, " label pixels");
  const View<int32_t> second(table[1].cast<py::array>(), name + " i1", {first.size()});
  const View<float> weight(table[2].cast<py::array>(), name + " f", {first.size()});
  const int32_t *i0 = first.data(), *i1 = second.data();
  for (int64_t p = 0; p < first.size(); ++p) {
    require(i0[p] >= 0 && i0[p] <= i1[p] && i1[p] < features && i1[p] - i0[p] <= 1, name,
            " points outside the activation grid at pixel ", p);
    require(!p || (i0[p] >= i0[p - 1] && i1[p] >= i1[p - 1]), name, " does not ascend");
    require(weight.data()[p] >= 0 && weight.data()[p] < 1, name, " has a weight outside [0, 1)");
  }
  return {i0, i1, weight.data(), first.size(), features};
}

// Crops, thresholds and axes: what masks depend on.
struct MaskArrays {
  CropArrays crops;
  View<float> thresholds;
  int64_t height, width;
  AxisTable y, x;
  std::vector<int64_t> start;

  MaskArrays(const py::tuple& crop_arrays, const py::array& thresholds_array, const py::tuple& y_table,
             const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size)
      : crops(crop(crop_arrays, 0), crop(crop_arrays, 1), crop(crop_arrays, 2), crop(crop_arrays, 3)),
        thresholds(thresholds_array, "thresholds", {kAny}),
        height(side(std::get<0>(map_size))),
        width(side(std::get<1>(map_size))),
        y(axis_table(y_table, height, "y")),
        x(axis_table(x_table, width, "x")),
        start(crops.starts(thresholds.size())) {
    for (int64_t i = 0; i < crops.count(); ++i) {
      const Box b = crops.boxes()[i];
      require(b.y + b.height <= height && b.x + b.width <= width, "crop ", i, " leaves the grid");
    }
  }
  static py::array crop(const py::tuple& arrays, size_t i) {
    require(arrays.size() == 4, "crops are 4 arrays");
    return arrays[i].cast<py::array>();
  }
  static int64_t side(int64_t size) {
    require(size >= 0 && size <= kLargestSide, "map_size must lie between 0 and 65535 on each side");
    return size;
  }
  int64_t tiles() const { return y.axis().tiles * x.axis().tiles; }
  MaskJob job() const { return {crops.crops(start), thresholds.data(), thresholds.size(), y.axis(), x.axis()}; }
};

// Packed labels of N images; checks every index that the kernel follows.
struct LabelArrays {
  View<int64_t> slot_start;
  View<int32_t> slot_concept;
  View<int64_t> word_start;
  View<uint64_t> words;
  View<int64_t> whole_start;
  View<int32_t> whole;
  View<bool> present;

  LabelArrays(const py::tuple& arrays, int64_t tiles, int64_t concepts, int64_t categories)
      : slot_start(label(arrays, 0), "slot_start", {kAny}),
        slot_concept(label(arrays, 1), "slot_concept", {kAny}),
        word_start(label(arrays, 2), "word_start", {slot_start.size()}),
        words(label(arrays, 3), "words", {kAny}),
        whole_start(label(arrays, 4), "whole_start", {slot_start.size()}),
        whole(label(arrays, 5), "whole", {kAny}),
        present(label(arrays, 6), "present", {slot_start.size() - 1, categories}) {
    require(slot_start.size() >= 1, "slot_start must have one entry more than there are images");
    const auto within = [](const View<int64_t>& start, int64_t size) {  // first of all: then no difference overflows
      return std::all_of(start.data(), start.data() + start.size(), [&](int64_t i) { return i >= 0 && i <= size; });
    };
    require(within(slot_start, slot_concept.size()) && within(word_start, words.size()) &&
                within(whole_start, whole.size()),
            "labels are shorter than their starts say");
    for (int64_t i = 0; i < images(); ++i) {
      const int64_t slots = slot_start.data()[i + 1] - slot_start.data()[i];
      const int64_t size = word_start.data()[i + 1] - word_start.data()[i];
      require(slots >= 0 && slots % 8 == 0, "slots of image ", i, " are not a multiple of 8");
      require(size == slots * tiles, "words of image ", i, " do not fit its grid");
      require(whole_start.data()[i] <= whole_start.data()[i + 1], "whole_start does not ascend");
    }
    for (int64_t i = slot_start.data()[0]; i < slot_start.data()[images()]; ++i)
      require(slot_concept.data()[i] >= -1 && slot_concept.data()[i] < concepts, "slot_concept out of range");
    for (int64_t i = whole_start.data()[0]; i < whole_start.data()[images()]; ++i)
      require(whole.data()[i] >= 0 && whole.data()[i] < concepts, "whole out of range");
  }
  static py::array label(const py::tuple& arrays, size_t i) {
    require(arrays.size() == 7, "labels are 7 arrays");
    return arrays[i].cast<py::array>();
  }
  int64_t images() const { return slot_start.size() - 1; }
  Labels labels() const {
    return {images(),
            present.shape(1),
            slot_start.data(),
            slot_concept.data(),
            word_start.data(),
            words.data(),
            whole_start.data(),
            whole.data(),
            reinterpret_cast<const uint8_t*>(present.data())};
  }
};

}  // namespace netdissect
