// Asks the CPU what it can run, and the caller or NETDISSECT_FAST_ISA what it should (select.h).
#include "cpu/select.h"

#include <cstdlib>
#include <stdexcept>

namespace netdissect {

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
#if defined(NETDISSECT_HAS_AVX512)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("bmi2"))
    found.push_back(&kAvx512);
#endif
#if defined(NETDISSECT_HAS_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt"))
    found.push_back(&kAvx2);
#endif
#endif
#if defined(NETDISSECT_HAS_NEON)
  found.push_back(&kNeon);
#endif
  found.push_back(&kBaseline);
  return found;
}

const Kernels& select_kernels(const std::string& name) {
  const char* variable = std::getenv("NETDISSECT_FAST_ISA");
  const std::string wanted = !name.empty() ? name : variable ? variable : "";
  const auto available = available_kernels();
  if (wanted.empty()) return *available.front();
  std::string names;
  for (const Kernels* kernels : available) {
    if (wanted == kernels->name) return *kernels;
    names += std::string(names.empty() ? "" : ", ") + kernels->name;
  }
  throw std::invalid_argument("instruction set '" + wanted + "' (" +
                              (name.empty() ? "from NETDISSECT_FAST_ISA" : "argument isa") +
                              ") is unknown or not available on this CPU; choose one of: " + names);
}

}  // namespace netdissect
