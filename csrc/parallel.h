// Fixed ranges on std::thread. No pool is kept (fork is safe), no OpenMP (torch has its own).
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace netdissect {

// Calls work(begin, end, part) for `threads` contiguous parts of 0 .. size-1; rethrows the first exception.
template <class Work>
void parallel_ranges(int64_t size, int64_t threads, Work&& work) {
  const int64_t parts = std::max<int64_t>(1, std::min(threads, size));
  std::vector<std::exception_ptr> errors(static_cast<size_t>(parts));
  auto run = [&](int64_t part) {
    try {
      work(size * part / parts, size * (part + 1) / parts, part);
    } catch (...) {
      errors[static_cast<size_t>(part)] = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(parts));
  int64_t started = 1;
  try {
    for (; started < parts; ++started) others.emplace_back(run, started);
  } catch (const std::exception&) {  // no more threads available: the rest is done here
  }
  run(0);
  for (int64_t part = started; part < parts; ++part) run(part);
  for (auto& thread : others) thread.join();
  for (auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace netdissect
