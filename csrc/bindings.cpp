// The only file that defines Python functions: checks the arguments, releases the GIL, calls the core.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>

#include "arrays.h"
#include "cpu/select.h"
#include "pack.h"
#include "parallel.h"
#include "store.h"

namespace netdissect {
namespace {

static_assert(sizeof(Box) == 4 * sizeof(uint16_t));

constexpr int64_t kLargestSide = 65535;  // Box is uint16
constexpr int64_t kGroup = 16;           // label pixels handled together (kernels-inl.h)

int64_t positive(int64_t value, const char* name) {
  require(value >= 1, std::string(name) + " must be at least 1, got " + std::to_string(value));
  return value;
}

Maps view_maps(const py::array& array, bool bfloat16) {
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

// keep(maps, bounds, first_image) → image, unit, box, values, first non-finite (image, unit) or None
py::tuple keep(const py::array& array, const py::array& bounds_array, int64_t first_image, bool bfloat16,
               int64_t threads, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const Maps maps = view_maps(array, bfloat16);
  const View<float> bounds(bounds_array, "bounds", {maps.units});
  positive(threads, "threads");
  require(first_image >= 0 && first_image <= INT32_MAX - maps.images,
          "first_image must be at least 0, and every image's number below 2^31");
  std::vector<Box> boxes(static_cast<size_t>(maps.images * maps.units));
  std::vector<int32_t> image, unit;
  std::vector<Box> box;
  std::vector<int64_t> start{0};
  std::vector<float> values;
  NonFinite bad{-1, -1};
  {
    const py::gil_scoped_release released;
    const KeepJob job{maps, bounds.data(), boxes.data()};
    const auto parts = static_cast<size_t>(std::max<int64_t>(1, std::min(threads, maps.units)));
    std::vector<NonFinite> found(parts, NonFinite{-1, -1});
    parallel_ranges(maps.units, threads, [&](int64_t first, int64_t last, int64_t part) {
      std::vector<float> scratch(static_cast<size_t>(maps.height * maps.width));
      kernels.keep(job, first, last, scratch.data(), &found[static_cast<size_t>(part)]);
    });
    for (const NonFinite& f : found)
      if (f.image >= 0 && (bad.image < 0 || std::tie(f.image, f.unit) < std::tie(bad.image, bad.unit))) bad = f;
    if (bad.image < 0) {
      for (int64_t i = 0; i < maps.images * maps.units; ++i) {
        const Box b = boxes[static_cast<size_t>(i)];
        if (!b.height) continue;
        image.push_back(static_cast<int32_t>(first_image + i / maps.units));
        unit.push_back(static_cast<int32_t>(i % maps.units));
        box.push_back(b);
        start.push_back(start.back() + static_cast<int64_t>(b.height) * b.width);
      }
      values.resize(static_cast<size_t>(start.back()));
      parallel_ranges(static_cast<int64_t>(box.size()), threads, [&](int64_t first, int64_t last, int64_t) {
        for (int64_t i = first; i < last; ++i) {
          const auto c = static_cast<size_t>(i);
          copy_crop(maps, image[c] - first_image, unit[c], box[c], values.data() + start[c]);
        }
      });
    }
  }
  const auto count = static_cast<py::ssize_t>(box.size()), size = static_cast<py::ssize_t>(values.size());
  std::vector<uint16_t> sides;
  sides.reserve(box.size() * 4);
  for (const Box& b : box) sides.insert(sides.end(), {b.y, b.x, b.height, b.width});
  return py::make_tuple(give(std::move(image), {count}), give(std::move(unit), {count}),
                        give(std::move(sides), {count, 4}), give(std::move(values), {size}),
                        bad.image < 0 ? py::object(py::none()) : py::make_tuple(first_image + bad.image, bad.unit));
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
      require(unit.data()[i] >= 0 && unit.data()[i] < units, "unit out of range in crop " + std::to_string(i));
      require(b.height && b.width, "empty crop " + std::to_string(i));
      start[static_cast<size_t>(i) + 1] = start[static_cast<size_t>(i)] + static_cast<int64_t>(b.height) * b.width;
    }
    require(start.back() == values.size(), "values does not hold what the boxes say");
    return start;
  }
};

py::tuple prune_crops(const py::array& image, const py::array& unit, const py::array& box, const py::array& values,
                      const py::array& bounds_array) {
  const CropArrays crops(image, unit, box, values, true);
  const View<float> bounds(bounds_array, "bounds", {kAny});
  crops.starts(bounds.size());
  StoreSize size{};
  {
    const py::gil_scoped_release released;
    size = prune(crops.count(), crops.image.out(), crops.unit.out(), reinterpret_cast<Box*>(crops.box.out()),
                 crops.values.out(), bounds.data());
  }
  return py::make_tuple(size.crops, size.values);
}

py::array_t<float> kth(const py::array& image, const py::array& unit, const py::array& box, const py::array& values,
                       const py::array& bounds_array, int64_t rank, int64_t threads) {
  const CropArrays crops(image, unit, box, values);
  const View<float> bounds(bounds_array, "bounds", {kAny});
  crops.starts(bounds.size());
  positive(rank, "rank");
  positive(threads, "threads");
  std::vector<float> result(static_cast<size_t>(bounds.size()));
  {
    const py::gil_scoped_release released;
    kth_largest(crops.count(), crops.unit.data(), crops.boxes(), crops.values.data(), bounds.size(), bounds.data(),
                rank, threads, result.data());
  }
  return give(std::move(result), {bounds.size()});
}

// An axis table, padded to whole groups, with its inverse (first and last pixel between samples).
struct AxisTable {
  std::vector<int32_t> i0, i1, begin, end;
  std::vector<float> f;
  int64_t pixels, features;

  AxisTable(const py::tuple& table, int64_t size, const std::string& name) : pixels(0), features(size) {
    require(table.size() == 3, name + " must be (i0, i1, f)");
    const View<int32_t> low(table[0].cast<py::array>(), name + " i0", {kAny});
    const View<int32_t> high(table[1].cast<py::array>(), name + " i1", {low.size()});
    const View<float> weight(table[2].cast<py::array>(), name + " f", {low.size()});
    pixels = low.size();
    const auto padded = static_cast<size_t>((pixels + kGroup - 1) / kGroup * kGroup);
    i0.assign(low.data(), low.data() + pixels);
    i1.assign(high.data(), high.data() + pixels);
    f.assign(weight.data(), weight.data() + pixels);
    for (size_t p = 0; p < i0.size(); ++p) {
      require(i0[p] >= 0 && i0[p] <= i1[p] && i1[p] < features && i1[p] - i0[p] <= 1,
              name + " points outside the activation grid at pixel " + std::to_string(p));
      require(!p || (i0[p] >= i0[p - 1] && i1[p] >= i1[p - 1]), name + " does not ascend");
      require(f[p] >= 0 && f[p] < 1, name + " has a weight outside [0, 1)");
    }
    for (int32_t feature = 0; feature < features; ++feature) {
      begin.push_back(static_cast<int32_t>(std::lower_bound(i0.begin(), i0.end(), feature) - i0.begin()));
      end.push_back(static_cast<int32_t>(std::upper_bound(i1.begin(), i1.end(), feature) - i1.begin()));
    }
    i0.resize(padded, 0);
    i1.resize(padded, 0);
    f.resize(padded, 0);
  }
  Axis axis() const { return {pixels, features, i0.data(), i1.data(), f.data(), begin.data(), end.data()}; }
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
    for (int64_t i = 0; i < images(); ++i) {
      const int64_t slots = slot_start.data()[i + 1] - slot_start.data()[i];
      const int64_t size = word_start.data()[i + 1] - word_start.data()[i];
      require(slots >= 0 && slots % 8 == 0, "slots of image " + std::to_string(i) + " are not a multiple of 8");
      require(size == slots * tiles, "words of image " + std::to_string(i) + " do not fit its grid");
      require(whole_start.data()[i] <= whole_start.data()[i + 1], "whole_start does not ascend");
    }
    const auto within = [&](const View<int64_t>& start, int64_t size) {
      return start.data()[0] >= 0 && start.data()[images()] <= size;
    };
    require(within(slot_start, slot_concept.size()) && within(word_start, words.size()) &&
                within(whole_start, whole.size()),
            "labels are shorter than their starts say");
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

struct ScratchMemory {
  std::vector<int32_t> index0, index1;
  std::vector<uint16_t> inside, corner;
  std::vector<float> rows;
  std::vector<uint64_t> mask;
  std::vector<int64_t> count;

  ScratchMemory(size_t pixels, size_t tallest, size_t slots)
      : index0(pixels),
        index1(pixels),
        inside(pixels / kGroup),
        corner(tallest * (pixels / kGroup)),
        rows(tallest * pixels),
        mask(pixels / 8),
        count(slots) {}
  CountScratch view() {
    return {index0.data(), index1.data(), inside.data(), rows.data(), corner.data(), mask.data(), count.data()};
  }
};

void count(const py::tuple& crop_arrays, int64_t first_image, const py::array& thresholds_array,
           const py::tuple& y_table, const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size,
           const py::tuple& label_arrays, const py::array& intersection_array, const py::array& unit_area_array,
           int64_t threads, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  require(crop_arrays.size() == 4 && label_arrays.size() == 7, "crops are 4 arrays and labels 7");
  const CropArrays crops(crop_arrays[0].cast<py::array>(), crop_arrays[1].cast<py::array>(),
                         crop_arrays[2].cast<py::array>(), crop_arrays[3].cast<py::array>());
  const View<float> thresholds(thresholds_array, "thresholds", {kAny});
  const int64_t units = thresholds.size(), height = std::get<0>(map_size), width = std::get<1>(map_size);
  require(height >= 0 && height <= kLargestSide && width >= 0 && width <= kLargestSide,
          "map_size must lie between 0 and 65535 on each side");
  const View<int64_t> intersection(intersection_array, "intersection", {units, kAny}, true);
  const View<int64_t> unit_area(unit_area_array, "unit_area", {units, kAny}, true);
  const AxisTable y(y_table, height, "y"), x(x_table, width, "x");
  const int64_t tiles = ((y.pixels + 7) / 8) * ((x.pixels + 7) / 8);
  const LabelArrays labels(label_arrays, tiles, intersection.shape(1), unit_area.shape(1));
  positive(threads, "threads");

  const std::vector<int64_t> start = crops.starts(units);
  std::vector<int64_t> image_start(static_cast<size_t>(labels.images()) + 1, 0);
  int64_t tallest = 1;
  for (int64_t i = 0; i < crops.count(); ++i) {
    const int64_t image = crops.image.data()[i] - first_image;
    const Box b = crops.boxes()[i];
    require(image >= 0 && image < labels.images(), "crop " + std::to_string(i) + " is of an image without labels");
    require(b.y + b.height <= height && b.x + b.width <= width, "crop " + std::to_string(i) + " leaves the grid");
    require(!i || std::tie(crops.image.data()[i - 1], crops.unit.data()[i - 1]) <
                      std::tie(crops.image.data()[i], crops.unit.data()[i]),
            "crops must ascend by image, then unit");
    ++image_start[static_cast<size_t>(image) + 1];
    tallest = std::max<int64_t>(tallest, b.height);
  }
  std::partial_sum(image_start.begin(), image_start.end(), image_start.begin());
  const CountJob job{
      {crops.count(), crops.image.data(), crops.unit.data(), crops.boxes(), start.data(), crops.values.data()},
      image_start.data(),
      thresholds.data(),
      y.axis(),
      x.axis(),
      labels.labels(),
      intersection.shape(1),
      intersection.out(),
      unit_area.out()};
  const auto slots = static_cast<size_t>(labels.most_slots());
  const py::gil_scoped_release released;
  parallel_ranges(units, threads, [&](int64_t first, int64_t last, int64_t) {
    ScratchMemory scratch(x.i0.size(), static_cast<size_t>(tallest), slots);
    kernels.count(job, first, last, scratch.view());
  });
}

py::tuple pack_labels(const py::array& maps_array, const py::array& columns_array, const py::array& whole_array) {
  const View<int32_t> maps(maps_array, "maps", {kAny, kAny, kAny});
  const View<int32_t> columns(columns_array, "columns", {kAny}), whole(whole_array, "whole", {kAny});
  PackedImage image;
  {
    const py::gil_scoped_release released;
    image = pack(maps.data(), maps.shape(0), maps.shape(1), maps.shape(2),
                 {columns.data(), columns.data() + columns.size()}, {whole.data(), whole.data() + whole.size()});
  }
  const auto slots = static_cast<py::ssize_t>(image.concepts.size());
  const auto tiles = static_cast<py::ssize_t>((maps.shape(1) + 7) / 8 * ((maps.shape(2) + 7) / 8));
  return py::make_tuple(give(std::move(image.concepts), {slots}), give(std::move(image.areas), {slots}),
                        give(std::move(image.words), {tiles, slots}));
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
  return names;
}

}  // namespace
}  // namespace netdissect

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  using namespace netdissect;
  m.doc() = "Compiled kernels of netdissect_fast. Used through netdissect_fast.backends; see _core.pyi.";
  m.attr("__version__") = NETDISSECT_VERSION;
  m.def("available_isas", &available_isas);
  m.def("isa", [] { return std::string(select_kernels("").name); });
  m.def("keep", &keep, py::arg("maps"), py::arg("bounds"), py::kw_only(), py::arg("first_image") = 0,
        py::arg("bfloat16") = false, py::arg("threads") = 1, py::arg("isa") = "");
  m.def("count", &count, py::arg("crops"), py::kw_only(), py::arg("first_image"), py::arg("thresholds"), py::arg("y"),
        py::arg("x"), py::arg("map_size"), py::arg("labels"), py::arg("intersection"), py::arg("unit_area"),
        py::arg("threads") = 1, py::arg("isa") = "");
  m.def("prune", &prune_crops, py::arg("image"), py::arg("unit"), py::arg("box"), py::arg("values"), py::arg("bounds"));
  m.def("kth_largest", &kth, py::arg("image"), py::arg("unit"), py::arg("box"), py::arg("values"), py::arg("bounds"),
        py::arg("rank"), py::kw_only(), py::arg("threads") = 1);
  m.def("pack", &pack_labels, py::arg("maps"), py::arg("columns"), py::arg("whole"));
}
