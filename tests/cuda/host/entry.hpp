// What Python calls: a kernel by name, its arguments each behind a pointer, as CUDA's own launch takes them.
// The including file defines `kernels`, an array of coh::Kernel made by COH_KERNEL(name).
#pragma once

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

struct Call {
  const Kernel* kernel;
  void** arguments;
};

}  // namespace coh

namespace {
thread_local std::string last_error;

const coh::Kernel* find(const char* name) {
  for (const coh::Kernel& kernel : kernels)
    if (!strcmp(kernel.name, name)) return &kernel;
  return nullptr;
}
}  // namespace

extern "C" const char* coh_error() { return last_error.c_str(); }

// Number of arguments, or -1 for an unknown kernel; sizes of up to 64 of them.
extern "C" int coh_arguments(const char* name, int* sizes) {
  const coh::Kernel* kernel = find(name);
  if (!kernel) return -1;
  for (size_t i = 0; i < kernel->sizes.size() && i < 64; ++i) sizes[i] = kernel->sizes[i];
  return static_cast<int>(kernel->sizes.size());
}

// 0, or 1 after an error.
extern "C" int coh_launch(const char* name, unsigned blocks, unsigned threads, size_t shared, unsigned schedule,
                          void** arguments) {
  coh::Call call{find(name), arguments};
  try {
    coh::launch(
        blocks, threads, shared, schedule,
        [](void* given) {
          auto* call = static_cast<coh::Call*>(given);
          call->kernel->call(call->arguments);
        },
        &call);
  } catch (const std::exception& error) {
    last_error = error.what();
    return 1;
  }
  return 0;
}
