// What Python calls: a kernel by name, its arguments each behind a pointer, as CUDA's own launch takes them.
// The including file defines coh::kernels(), which gives a table of COH_KERNEL(name).
#pragma once

#include <span>
#include <utility>

namespace coh {

struct Kernel {
  const char* name;
  std::vector<int> sizes;  // of the arguments, in bytes; pointers are 8
  void (*call)(void**);
};

template <class... A>
std::vector<int> sizes(void (*)(A...)) {
  return {static_cast<int>(sizeof(A))...};
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_cv_t<A>*>(arguments[I])...);
}

template <class... A>
void call(void (*kernel)(A...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<A...>{});
}

#define COH_KERNEL(name) {#name, coh::sizes(&name), [](void** arguments) { coh::call(&name, arguments); }}

std::span<const Kernel> kernels();

struct Call {
  const Kernel* kernel;
  void** arguments;
};

inline thread_local std::string last_error;

inline const Kernel* find_kernel(const char* name) {
  for (const Kernel& kernel : kernels())
    if (!strcmp(kernel.name, name)) return &kernel;
  return nullptr;
}

}  // namespace coh

extern "C" const char* coh_error() { return coh::last_error.c_str(); }

// Number of arguments, or -1 for an unknown kernel; sizes of up to 64 of them.
extern "C" int coh_arguments(const char* name, int* sizes) {
  const coh::Kernel* kernel = coh::find_kernel(name);
  if (!kernel) return -1;
  for (size_t i = 0; i < kernel->sizes.size() && i < 64; ++i) sizes[i] = kernel->sizes[i];
  return static_cast<int>(kernel->sizes.size());
}

// 0, or 1 after an error.
extern "C" int coh_launch(const char* name, unsigned blocks, unsigned threads, size_t shared, unsigned schedule,
                          void** arguments) {
  coh::Call call{coh::find_kernel(name), arguments};
  try {
    coh::launch(
        blocks, threads, shared, schedule,
        [](void* given) {
          auto* call = static_cast<coh::Call*>(given);
          call->kernel->call(call->arguments);
        },
        &call);
  } catch (const std::exception& error) {
    coh::last_error = error.what();
    return 1;
  }
  return 0;
}
