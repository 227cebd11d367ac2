// The only file that defines Python functions: checks the arguments, releases the GIL, calls the core.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "arguments.h"
#include "cpu/select.h"
#include "pack.h"
#include "parallel.h"
#include "order.h"

namespace netdissect {
namespace {

// Crops of consecutive maps, on one thread.
struct KeptCrops {
  std::vector<int32_t> image, unit;
  std::vector<Box> box;
  std::vector<float> values;
  std::optional<std::pair<int64_t, int64_t>> nonfinite;  // image, unit
};

// Units of one image that are looked at in one go: few enough for their crops to stay in the nearest cache.
int64_t units_at_once(const Maps& maps) {
  constexpr int64_t kValues = 16384, kMultiple = 16;  // units side by side are looked at 16 at a time
  return std::max<int64_t>(1, kValues / kMultiple / std::max<int64_t>(1, maps.height * maps.width)) * kMultiple;
}

// Pieces [first, last) of the batch; every image has ceil(U / units) of them.
KeptCrops keep_pieces(const Kernels& kernels, const KeepJob& job, int64_t first_image, int64_t units, int64_t first,
                      int64_t last) {
  const Maps& maps = job.maps;
  const int64_t pieces = (maps.units + units - 1) / units;
  const auto map_size = static_cast<size_t>(maps.height * maps.width), most = static_cast<size_t>(units);
  std::vector<int32_t> unit(most);
  std::vector<Box> box(most);
  const std::unique_ptr<float[]> values(new float[most * map_size + kGroup]), map(new float[map_size + kGroup]);
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

// keep(maps, bounds, first_image) → image, unit, box, values, first non-finite (image, unit) or None
py::tuple keep(const py::array& array, const py::array& bounds_array, int64_t first_image, bool bfloat16,
               int64_t threads, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const Maps maps = view_maps(array, bfloat16);
  const View<float> bounds(bounds_array, "bounds", {maps.units});
  positive(threads, "threads");
  require(first_image >= 0 && first_image <= INT32_MAX - maps.images,
          "first_image must be at least 0, and every image's number below 2^31");
  std::vector<KeptCrops> parts(1);
  {
    const py::gil_scoped_release released;
    const KeepJob job{maps, bounds.data()};
    const int64_t units = units_at_once(maps), pieces = maps.images * ((maps.units + units - 1) / units);
    parts.resize(static_cast<size_t>(std::max<int64_t>(1, std::min(threads, pieces))));
    if (maps.height && maps.width)
      parallel_ranges(pieces, threads, [&](int64_t first, int64_t last, int64_t part) {
        parts[static_cast<size_t>(part)] = keep_pieces(kernels, job, first_image, units, first, last);
      });
    for (size_t i = 1; i < parts.size() && !parts[0].nonfinite; ++i) {
      KeptCrops &all = parts[0], &more = parts[i];
      all.nonfinite = more.nonfinite;
      all.image.insert(all.image.end(), more.image.begin(), more.image.end());
      all.unit.insert(all.unit.end(), more.unit.begin(), more.unit.end());
      all.box.insert(all.box.end(), more.box.begin(), more.box.end());
      all.values.insert(all.values.end(), more.values.begin(), more.values.end());
    }
  }
  KeptCrops& kept = parts[0];
  const auto count = static_cast<py::ssize_t>(kept.box.size()), size = static_cast<py::ssize_t>(kept.values.size());
  std::vector<uint16_t> sides;
  sides.reserve(kept.box.size() * 4);
  for (const Box& b : kept.box) sides.insert(sides.end(), {b.y, b.x, b.height, b.width});
  return py::make_tuple(give(std::move(kept.image), {count}), give(std::move(kept.unit), {count}),
                        give(std::move(sides), {count, 4}), give(std::move(kept.values), {size}),
                        kept.nonfinite ? py::object(py::make_tuple(kept.nonfinite->first, kept.nonfinite->second))
                                       : py::object(py::none()));
}

py::tuple prune_crops(const py::array& image, const py::array& unit, const py::array& box, const py::array& values,
                      const py::array& bounds_array, int64_t threads) {
  const CropArrays crops(image, unit, box, values, true);
  const View<float> bounds(bounds_array, "bounds", {kAny});
  const std::vector<int64_t> start = crops.starts(bounds.size());
  positive(threads, "threads");
  StoreSize size{};
  {
    const py::gil_scoped_release released;
    size = prune(crops.crops(start), crops.image.out(), crops.unit.out(), reinterpret_cast<Box*>(crops.box.out()),
                 crops.values.out(), bounds.data(), threads);
  }
  return py::make_tuple(size.crops, size.values);
}

py::array_t<float> kth(const py::array& image, const py::array& unit, const py::array& box, const py::array& values,
                       const py::array& bounds_array, int64_t rank, int64_t threads) {
  const CropArrays crops(image, unit, box, values);
  const View<float> bounds(bounds_array, "bounds", {kAny});
  const std::vector<int64_t> start = crops.starts(bounds.size());
  positive(rank, "rank");
  positive(threads, "threads");
  std::vector<float> result(static_cast<size_t>(bounds.size()));
  {
    const py::gil_scoped_release released;
    kth_largest(crops.crops(start), bounds.size(), bounds.data(), rank, threads, result.data());
  }
  return give(std::move(result), {bounds.size()});
}

struct ScratchMemory {
  std::vector<uint64_t> above, mask;
  std::vector<float> rows;
  std::vector<const float*> strips;
  std::vector<int32_t> item;
  std::vector<int64_t> count;

  ScratchMemory(const Axis& y, const Axis& x, size_t tallest, size_t words, size_t slots)
      : above(tallest * words),
        mask(static_cast<size_t>(y.tiles * x.tiles + 1)),
        rows(tallest * static_cast<size_t>(x.padded)),
        strips(static_cast<size_t>(y.tiles) * 2 * kTile),
        item(static_cast<size_t>(y.tiles * x.tiles + kTile)),
        count(slots) {}
  CountScratch view() { return {above.data(), rows.data(), strips.data(), item.data(), mask.data(), count.data()}; }
};

// Crops, thresholds and axes: what masks depend on, checked.
struct MaskArrays {
  CropArrays crops;
  View<float> thresholds;
  int64_t height, width, tallest = 1;
  AxisTable y, x;
  std::vector<int64_t> start;

  MaskArrays(const py::tuple& crop_arrays, const py::array& thresholds_array, const py::tuple& y_table,
             const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size)
      : crops(crop(crop_arrays, 0), crop(crop_arrays, 1), crop(crop_arrays, 2), crop(crop_arrays, 3)),
        thresholds(thresholds_array, "thresholds", {kAny}),
        height(side(std::get<0>(map_size))),
        width(side(std::get<1>(map_size))),
        y(y_table, height, "y"),
        x(x_table, width, "x"),
        start(crops.starts(thresholds.size())) {
    for (int64_t i = 0; i < crops.count(); ++i) {
      const Box b = crops.boxes()[i];
      require(b.y + b.height <= height && b.x + b.width <= width, "crop ", i, " leaves the grid");
      tallest = std::max<int64_t>(tallest, b.height);
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
  MaskJob job() const {
    return {crops.crops(start), thresholds.data(), y.axis(), x.axis(), (x.axis().tiles + kTile - 1) / kTile};
  }
  ScratchMemory scratch(size_t slots) const {
    return {y.axis(), x.axis(), static_cast<size_t>(tallest), static_cast<size_t>(job().row_words), slots};
  }
};

void count(const py::tuple& crop_arrays, int64_t first_image, const py::array& thresholds, const py::tuple& y_table,
           const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size, const py::tuple& label_arrays,
           const py::array& intersection_array, const py::array& unit_area_array, int64_t threads,
           const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  require(label_arrays.size() == 7, "labels are 7 arrays");
  const MaskArrays arrays(crop_arrays, thresholds, y_table, x_table, map_size);
  const CropArrays& crops = arrays.crops;
  const int64_t units = arrays.thresholds.size();
  const View<int64_t> intersection(intersection_array, "intersection", {units, kAny}, true);
  const View<int64_t> unit_area(unit_area_array, "unit_area", {units, kAny}, true);
  const LabelArrays labels(label_arrays, arrays.tiles(), intersection.shape(1), unit_area.shape(1));
  positive(threads, "threads");

  std::vector<int64_t> image_start(static_cast<size_t>(labels.images()) + 1, 0);
  for (int64_t i = 0; i < crops.count(); ++i) {
    const uint64_t image = static_cast<uint64_t>(crops.image.data()[i]) - static_cast<uint64_t>(first_image);
    require(image < static_cast<uint64_t>(labels.images()), "crop ", i, " is of an image without labels");
    require(!i || std::tie(crops.image.data()[i - 1], crops.unit.data()[i - 1]) <
                      std::tie(crops.image.data()[i], crops.unit.data()[i]),
            "crops must ascend by image, then unit");
    ++image_start[image + 1];
  }
  std::partial_sum(image_start.begin(), image_start.end(), image_start.begin());
  const CountJob job{arrays.job(),          image_start.data(), labels.labels(),
                     intersection.shape(1), intersection.out(), unit_area.out()};
  const auto slots = static_cast<size_t>(labels.most_slots());
  const py::gil_scoped_release released;
  parallel_ranges(units, threads, [&](int64_t first, int64_t last, int64_t) {
    ScratchMemory scratch = arrays.scratch(slots);
    kernels.count(job, first, last, scratch.view());
  });
}

// masks(crops, thresholds, y, x, map_size) → words [P, tiles]
py::array_t<uint64_t> masks(const py::tuple& crop_arrays, const py::array& thresholds, const py::tuple& y_table,
                            const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size, int64_t threads,
                            const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const MaskArrays arrays(crop_arrays, thresholds, y_table, x_table, map_size);
  positive(threads, "threads");
  const int64_t crops = arrays.crops.count(), tiles = arrays.tiles();
  std::vector<uint64_t> words(static_cast<size_t>(crops * tiles));
  {
    const py::gil_scoped_release released;
    parallel_ranges(crops, threads, [&](int64_t first, int64_t last, int64_t) {
      ScratchMemory scratch = arrays.scratch(0);
      kernels.masks(arrays.job(), first, last, scratch.view(), words.data());
    });
  }
  return give(std::move(words), {crops, tiles});
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
  m.doc() = "Compiled kernels of netdissect_fast. Used through netdissect_fast.scoring.backends; see _core.pyi.";
  m.attr("__version__") = NETDISSECT_VERSION;
  m.def("available_isas", &available_isas);
  m.def("isa", [] { return std::string(select_kernels("").name); });
  m.def("keep", &keep, py::arg("maps"), py::arg("bounds"), py::kw_only(), py::arg("first_image") = 0,
        py::arg("bfloat16") = false, py::arg("threads") = 1, py::arg("isa") = "");
  m.def("count", &count, py::arg("crops"), py::kw_only(), py::arg("first_image"), py::arg("thresholds"), py::arg("y"),
        py::arg("x"), py::arg("map_size"), py::arg("labels"), py::arg("intersection"), py::arg("unit_area"),
        py::arg("threads") = 1, py::arg("isa") = "");
  m.def("masks", &masks, py::arg("crops"), py::kw_only(), py::arg("thresholds"), py::arg("y"), py::arg("x"),
        py::arg("map_size"), py::arg("threads") = 1, py::arg("isa") = "");
  m.def("prune", &prune_crops, py::arg("image"), py::arg("unit"), py::arg("box"), py::arg("values"), py::arg("bounds"),
        py::kw_only(), py::arg("threads") = 1);
  m.def("kth_largest", &kth, py::arg("image"), py::arg("unit"), py::arg("box"), py::arg("values"), py::arg("bounds"),
        py::arg("rank"), py::kw_only(), py::arg("threads") = 1);
  m.def("pack", &pack_labels, py::arg("maps"), py::arg("columns"), py::arg("whole"));
}
