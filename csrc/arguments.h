// The arguments of the kernels as NumPy arrays, checked so that no kernel reads or writes out of bounds.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "arrays.h"
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

// An axis table and what the kernel derives from it (Axis in labels.h).
struct AxisTable {
  std::vector<int32_t> i0, i1, begin, end;
  std::vector<float> f, weights_by_8;
  std::vector<uint64_t> second_pair;
  int64_t pixels, features, pairs = 1;

  AxisTable(const py::tuple& table, int64_t size, const std::string& name) : pixels(0), features(size) {
    require(table.size() == 3, name, " must be (i0, i1, f)");
    const View<int32_t> first(table[0].cast<py::array>(), name + " i0", {kAny});
    require(first.size() <= kMostPixels, name, " has more than ", kMostPixels, " label pixels");
    const View<int32_t> second_sample(table[1].cast<py::array>(), name + " i1", {first.size()});
    const View<float> weight(table[2].cast<py::array>(), name + " f", {first.size()});
    pixels = first.size();
    i0.assign(first.data(), first.data() + pixels);
    i1.assign(second_sample.data(), second_sample.data() + pixels);
    f.assign(weight.data(), weight.data() + pixels);
    for (size_t p = 0; p < i0.size(); ++p) {
      require(i0[p] >= 0 && i0[p] <= i1[p] && i1[p] < features && i1[p] - i0[p] <= 1, name,
              " points outside the activation grid at pixel ", p);
      require(!p || (i0[p] >= i0[p - 1] && i1[p] >= i1[p - 1]), name, " does not ascend");
      require(f[p] >= 0 && f[p] < 1, name, " has a weight outside [0, 1)");
    }
    for (int32_t feature = 0; feature < features; ++feature) {
      begin.push_back(static_cast<int32_t>(std::lower_bound(i0.begin(), i0.end(), feature) - i0.begin()));
      end.push_back(static_cast<int32_t>(std::upper_bound(i1.begin(), i1.end(), feature) - i1.begin()));
    }
    const auto padded = static_cast<size_t>((pixels + kGroup - 1) / kGroup * kGroup);
    if (pixels) i0.resize(padded, i0.back()), i1.resize(padded, i1.back());
    f.resize(padded, NAN);
    for (const float weight_of_pixel : f) weights_by_8.insert(weights_by_8.end(), kTile, weight_of_pixel);
    for (size_t p = 0; p < padded; p += kTile) add_tile(p);
  }
  void add_tile(size_t first) {
    const size_t last = first + kTile - 1;
    uint64_t rows = 0;
    int64_t pairs_here = 1;
    for (size_t p = first; p <= last; ++p) {
      if (i0[p] == i0[last] && i1[p] == i1[last]) rows |= uint64_t{0xff} << (kTile * (p - first));
      pairs_here += p > first && (i0[p] != i0[p - 1] || i1[p] != i1[p - 1]);
    }
    second_pair.push_back(rows);
    pairs = std::max(pairs, pairs_here);
  }
  Axis axis() const {
    return {static_cast<int64_t>(i0.size()),
            (pixels + kTile - 1) / kTile,
            i0.data(),
            i1.data(),
            f.data(),
            begin.data(),
            end.data(),
            weights_by_8.data(),
            pairs,
            second_pair.data()};
  }
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

  LabelArrays(const py::tuple& t, int64_t tiles, int64_t concepts, int64_t categories)
      : slot_start(t[0].cast<py::array>(), "slot_start", {kAny}),
        slot_concept(t[1].cast<py::array>(), "slot_concept", {kAny}),
        word_start(t[2].cast<py::array>(), "word_start", {slot_start.size()}),
        words(t[3].cast<py::array>(), "words", {kAny}),
        whole_start(t[4].cast<py::array>(), "whole_start", {slot_start.size()}),
        whole(t[5].cast<py::array>(), "whole", {kAny}),
        present(t[6].cast<py::array>(), "present", {slot_start.size() - 1, categories}) {
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
  int64_t images() const { return slot_start.size() - 1; }
  int64_t most_slots() const {
    int64_t most = 0;
    for (int64_t i = 0; i < images(); ++i) most = std::max(most, slot_start.data()[i + 1] - slot_start.data()[i]);
    return most;
  }
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
