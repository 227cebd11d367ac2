// The only file that defines Python functions: checks the arguments, releases the GIL, calls the core, converts.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>
#include <utility>

#include "arguments.h"
#include "count.h"
#include "cpu/select.h"
#include "keep.h"
#include "order.h"
#include "pack.h"
#include "prune.h"

namespace netdissect::bindings {
namespace {

py::tuple keep(const py::array& array, const py::array& bounds_array, int64_t first_image, bool bfloat16,
               int64_t threads, const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const Maps maps = view_maps(array, bfloat16);
  const View<float> bounds(bounds_array, "bounds", {maps.units});
  positive(threads, "threads");
  require(first_image >= 0 && first_image <= INT32_MAX - maps.images,
          "first_image must be at least 0, and every image's number below 2^31");
  KeptCrops kept;
  {
    const py::gil_scoped_release released;
    kept = netdissect::keep(kernels, {maps, bounds.data()}, first_image, threads);
  }
  const auto count = static_cast<py::ssize_t>(kept.box.size()), size = static_cast<py::ssize_t>(kept.values.size());
  std::vector<uint16_t> sides;
  sides.reserve(kept.box.size() * 4);
  for (const Box& b : kept.box) sides.insert(sides.end(), {b.y, b.x, b.height, b.width});
  return py::make_tuple(give(std::move(kept.image), {count}), give(std::move(kept.unit), {count}),
                        give(std::move(sides), {count, 4}), give(std::move(kept.values), {size}), kept.nonfinite);
}

void count(const py::tuple& crop_arrays, int64_t first_image, const py::array& thresholds, const py::tuple& y_table,
           const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size, const py::tuple& label_arrays,
           const py::array& intersection_array, const py::array& unit_area_array, int64_t threads,
           const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const MaskArrays arrays(crop_arrays, thresholds, y_table, x_table, map_size);
  const View<int64_t> intersection(intersection_array, "intersection", {arrays.thresholds.size(), kAny}, true);
  const View<int64_t> unit_area(unit_area_array, "unit_area", {arrays.thresholds.size(), kAny}, true);
  const LabelArrays labels(label_arrays, arrays.tiles(), intersection.shape(1), unit_area.shape(1));
  positive(threads, "threads");
  const CountJob job{arrays.job(),       nullptr,        labels.labels(), intersection.shape(1),
                     intersection.out(), unit_area.out()};
  const py::gil_scoped_release released;
  netdissect::count(kernels, job, first_image, threads);
}

py::array_t<uint64_t> masks(const py::tuple& crop_arrays, const py::array& thresholds, const py::tuple& y_table,
                            const py::tuple& x_table, std::tuple<int64_t, int64_t> map_size, int64_t threads,
                            const std::string& isa) {
  const Kernels& kernels = select_kernels(isa);
  const MaskArrays arrays(crop_arrays, thresholds, y_table, x_table, map_size);
  positive(threads, "threads");
  std::vector<uint64_t> words;
  {
    const py::gil_scoped_release released;
    words = netdissect::masks(kernels, arrays.job(), threads);
  }
  return give(std::move(words), {arrays.crops.count(), arrays.tiles()});
}

py::tuple prune(const py::array& image, const py::array& unit, const py::array& box, const py::array& values,
                const py::array& bounds_array, int64_t threads) {
  const CropArrays crops(image, unit, box, values, true);
  const View<float> bounds(bounds_array, "bounds", {kAny});
  const std::vector<int64_t> start = crops.starts(bounds.size());
  positive(threads, "threads");
  StoreSize size{};
  {
    const py::gil_scoped_release released;
    size = netdissect::prune(crops.crops(start), crops.image.out(), crops.unit.out(),
                             reinterpret_cast<Box*>(crops.box.out()), crops.values.out(), bounds.data(), threads);
  }
  return py::make_tuple(size.crops, size.values);
}

py::array_t<float> kth_largest(const py::array& image, const py::array& unit, const py::array& box,
                               const py::array& values, const py::array& bounds_array, int64_t rank, int64_t threads) {
  const CropArrays crops(image, unit, box, values);
  const View<float> bounds(bounds_array, "bounds", {kAny});
  const std::vector<int64_t> start = crops.starts(bounds.size());
  positive(rank, "rank");
  positive(threads, "threads");
  std::vector<float> result(static_cast<size_t>(bounds.size()));
  {
    const py::gil_scoped_release released;
    netdissect::kth_largest(crops.crops(start), bounds.size(), bounds.data(), rank, threads, result.data());
  }
  return give(std::move(result), {bounds.size()});
}

py::tuple pack(const py::array& maps_array, const py::array& columns_array, const py::array& whole_array) {
  const View<int32_t> maps(maps_array, "maps", {kAny, kAny, kAny});
  const View<int32_t> columns(columns_array, "columns", {kAny}), whole(whole_array, "whole", {kAny});
  PackedImage image;
  {
    const py::gil_scoped_release released;
    image = netdissect::pack(maps.data(), maps.shape(0), maps.shape(1), maps.shape(2),
                             {columns.data(), columns.data() + columns.size()},
                             {whole.data(), whole.data() + whole.size()});
  }
  const auto slots = static_cast<py::ssize_t>(image.concepts.size());
  return py::make_tuple(give(std::move(image.concepts), {slots}), give(std::move(image.areas), {slots}),
                        give(std::move(image.words), {image.tiles, slots}));
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Kernels* kernels : available_kernels()) names.emplace_back(kernels->name);
  return names;
}

}  // namespace
}  // namespace netdissect::bindings

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  namespace py = pybind11;
  namespace bindings = netdissect::bindings;
  using py::arg, py::kw_only;
  m.doc() = "Compiled kernels of netdissect_fast. Used through netdissect_fast.scoring.backends; see _core.pyi.";
  m.attr("__version__") = NETDISSECT_VERSION;
  m.def("available_isas", &bindings::available_isas, "Instruction-set variants that this CPU can run, best first.");
  m.def(
      "isa", [] { return std::string(netdissect::select_kernels("").name); },
      "The variant in use: the best, or NETDISSECT_FAST_ISA.");
  m.def("keep", &bindings::keep, arg("maps"), arg("bounds"), kw_only(), arg("first_image") = 0, arg("bfloat16") = false,
        arg("threads") = 1, arg("isa") = "",
        "Crops above the bounds. maps [B, U, H, W] float32, float16, or bfloat16 as uint16, any strides; bounds [U] "
        "float32.\nReturns image [P] int32, unit [P] int32, box [P, 4] uint16 (y, x, height, width), values float32, "
        "and the first (image, unit) with NaN or infinity, or None.");
  m.def("count", &bindings::count, arg("crops"), kw_only(), arg("first_image"), arg("thresholds"), arg("y"), arg("x"),
        arg("map_size"), arg("labels"), arg("intersection"), arg("unit_area"), arg("threads") = 1, arg("isa") = "",
        "Adds what the crops' masks cover to intersection [U, C] int64 and unit_area [U, categories] int64.\n"
        "crops: as keep returns them; thresholds [U] float32; y, x: i0 int32, i1 int32, f float32 of each label row "
        "and column; map_size (H, W); labels: slot_start [N+1] int64, slot_concept int32, word_start [N+1] int64, "
        "words uint64, whole_start [N+1] int64, whole int32, present [N, categories] bool.");
  m.def("masks", &bindings::masks, arg("crops"), kw_only(), arg("thresholds"), arg("y"), arg("x"), arg("map_size"),
        arg("threads") = 1, arg("isa") = "",
        "Mask of each crop: words [P, tiles] uint64, as labels are packed. Arguments as those of count.");
  m.def("prune", &bindings::prune, arg("image"), arg("unit"), arg("box"), arg("values"), arg("bounds"), kw_only(),
        arg("threads") = 1,
        "Shrinks crops, in place, to what exceeds bounds [U] float32. image [P] int32, unit [P] int32, box [P, 4] "
        "uint16, values float32. Returns how many crops and values are left.");
  m.def("kth_largest", &bindings::kth_largest, arg("image"), arg("unit"), arg("box"), arg("values"), arg("bounds"),
        arg("rank"), kw_only(), arg("threads") = 1,
        "Per unit the rank-th largest value, [U] float32, or the bound if fewer values exceed it. Arrays as in prune.");
  m.def("pack", &bindings::pack, arg("maps"), arg("columns"), arg("whole"),
        "Packs one image's label maps [L, Y, X] int32 of concept numbers; columns [numbers] int32: column of each, or "
        "-1; whole [*] int32: columns that hold for every pixel.\nReturns columns [slots] int32, areas [slots] int32, "
        "words [tiles, slots] uint64. ValueError for a number without a column.");
}
