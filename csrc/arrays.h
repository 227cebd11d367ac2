// Checked views of NumPy arrays: dtype, dimensions, contiguity and writability, before any memory is touched.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "require.h"

namespace netdissect {
namespace py = pybind11;

[[noreturn]] inline void type_error(const std::string& message) { throw py::type_error(message); }
[[noreturn]] inline void value_error(const std::string& message) { throw py::value_error(message); }

constexpr py::ssize_t kAny = -1;

// A C-contiguous array of T with the given shape; kAny accepts any length.
template <class T>
class View {
 public:
  View(const py::array& array, const std::string& name, const std::vector<py::ssize_t>& shape, bool writable = false)
      : array_(array) {
    const auto wanted = py::dtype::of<T>();
    if (!array.dtype().equal(wanted)) type_error(name + " must be " + text(wanted) + ", got " + text(array.dtype()));
    if (!(array.flags() & py::array::c_style)) value_error(name + " must be C-contiguous");
    if (!(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) value_error(name + " is not aligned");
    bool same = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (size_t i = 0; same && i < shape.size(); ++i)
      same = shape[i] == kAny || shape[i] == array.shape(static_cast<py::ssize_t>(i));
    if (!same) value_error(name + " must have shape " + shape_text(shape) + ", got " + text(array.attr("shape")));
    if (writable && !array.writeable()) value_error(name + " is read-only, but is written to");
  }
  const T* data() const { return static_cast<const T*>(array_.data()); }
  T* out() const { return static_cast<T*>(const_cast<void*>(array_.data())); }
  int64_t size() const { return array_.size(); }
  int64_t shape(int axis) const { return array_.shape(axis); }

 private:
  static std::string text(const py::handle& value) { return py::str(value); }
  static std::string shape_text(const std::vector<py::ssize_t>& shape) {
    std::string result = "(";
    for (size_t i = 0; i < shape.size(); ++i)
      result += (i ? ", " : "") + (shape[i] == kAny ? std::string("*") : std::to_string(shape[i]));
    return result + (shape.size() == 1 ? ",)" : ")");
  }
  py::array array_;
};

// A new array that owns a vector's memory.
template <class T>
py::array_t<T> give(std::vector<T>&& values, const std::vector<py::ssize_t>& shape) {
  auto* owned = new std::vector<T>(std::move(values));
  py::capsule owner(owned, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(shape, owned->data(), owner);
}

}  // namespace netdissect
