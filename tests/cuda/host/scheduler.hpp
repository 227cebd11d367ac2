// Runs the blocks of a launch one after the other, the fibers of a block in a chosen order.
#pragma once

#include <memory>
#include <stdexcept>
#include <thread>

#include "collectives.hpp"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// Static shared variables: put side by side into one section, so that they can be filled with garbage before each
// block. ThreadSanitizer gets a fresh OS thread for each block instead, so that blocks do not seem to share them.
#ifdef COH_TSAN
#define __shared__ static thread_local
#else
#define __shared__ static __attribute__((section("coh_shared")))
extern "C" char __start_coh_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_coh_shared[] __attribute__((weak, visibility("hidden")));
#endif

namespace coh {

constexpr int kGarbage = 0xCB;  // makes large negative floats: a read of what was never written shows

COH_SCHEDULER inline void fiber_main() {
  Thread* t = current;
  Block* b = block;
#ifdef COH_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  b->body(b->argument);
  t->state = State::kExited;
  b->alive--;
  for (int l = 0; l < lanes_of(*b, t->warp); ++l) {  // those that waited for this lane need not any more
    Thread& other = b->thread[t->warp * kWarp + l];
    if (other.state == State::kInWarpOperation) try_warp(b, t->warp, other.mask);
  }
  try_barrier(b);
#ifdef COH_TSAN
  __tsan_release(b->end_order);
#endif
  to_scheduler(true);
  abort();
}

COH_SCHEDULER inline unsigned draw(Block* b) {
  b->random ^= b->random << 13;
  b->random ^= b->random >> 17;
  b->random ^= b->random << 5;
  return b->random;
}

// Lets each ready lane of a warp run until it waits: ascending, descending, or from a random lane either way.
COH_SCHEDULER inline bool run_lanes(Block* b, int warp, unsigned schedule) {
  const int lanes = lanes_of(*b, warp);
  const unsigned shift = schedule >= 2 ? draw(b) : 0;
  const bool down = schedule == 1 || (schedule >= 2 && (draw(b) & 1));
  bool any = false;
  for (int i = 0; i < lanes && b->error.empty(); ++i) {
    Thread& t = b->thread[warp * kWarp + ((down ? lanes - 1 - i : i) + shift) % lanes];
    if (t.state != State::kReady) continue;
    to_thread(b, &t);
    any = true;
  }
  return any;
}

COH_SCHEDULER inline void report_deadlock(Block* b) {
  std::string text = "deadlock:";
  const Thread* last = nullptr;
  for (const Thread& t : b->thread) {
    if (t.state == State::kExited) continue;
    if (!last || t.state != last->state || t.line != last->line || t.mask != last->mask)
      text += std::string(t.state == State::kAtBarrier ? " at barrier " : " in warp operation ") + describe(t) + ";";
    last = &t;
  }
  report(text.substr(0, 600));
}

// Schedule 0 runs warps to the end of what they can do, ascending; 1 descending; others are seeds of random orders.
COH_SCHEDULER inline void run_block(Block* b, const Stacks& stacks, unsigned schedule) {
  block = b;
  b->alive = b->threads;
  b->random = (schedule * 2654435761u + b->id.x * 40503u + 12345u) | 1;
#ifdef COH_ASAN
  pthread_attr_t attributes;
  void* bottom;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &b->stack_size);
  pthread_attr_destroy(&attributes);
  b->stack_bottom = bottom;
#endif
#ifdef COH_TSAN
  b->fiber = __tsan_get_current_fiber();
#endif
#if defined(__x86_64__)
  const unsigned control = _mm_getcsr();
  _mm_setcsr(control | 0x8040);  // subnormals count as zero, as with CuPy's -ftz=true
#endif
  for (int i = 0; i < b->threads; ++i) {
    Thread& t = b->thread[i];
    t = Thread{};
    t.id = {static_cast<unsigned>(i), 0, 0};
    t.number = i, t.lane = i % kWarp, t.warp = i / kWarp;
    t.stack = stacks[i];
    prepare(t, fiber_main);
  }
  while (b->alive > 0 && b->error.empty()) {
    bool any = false;
    const unsigned first = schedule >= 2 ? draw(b) % b->warps : 0;
    for (int q = 0; q < b->warps && b->error.empty(); ++q) {
      const int warp = schedule == 1 ? b->warps - 1 - q : (q + first) % b->warps;
      while (run_lanes(b, warp, schedule) && b->error.empty()) {
        any = true;
        if (schedule >= 2) break;
      }
    }
    if (!any && b->alive > 0 && b->error.empty()) report_deadlock(b);
  }
#if defined(__x86_64__)
  _mm_setcsr(control);
#endif
#ifdef COH_TSAN
  for (Thread& t : b->thread) __tsan_destroy_fiber(t.fiber);
#endif
  block = nullptr;
}

COH_SCHEDULER inline void fill(char* from, const char* to) {
  for (volatile char* p = from; p < to; ++p) *p = static_cast<char>(kGarbage);
}

// The block that runs as number i: ascending, descending, or ascending by steps that leave none out.
inline unsigned block_order(unsigned i, unsigned blocks, unsigned schedule) {
  if (schedule < 2) return schedule == 1 ? blocks - 1 - i : i;
  unsigned step = (schedule * 2654435761u) % blocks;
  const auto common = [](unsigned a, unsigned b) {
    while (b) a %= b, std::swap(a, b);
    return a;
  };
  while (step == 0 || common(step, blocks) != 1) step = step % blocks + 1;
  return static_cast<unsigned>((static_cast<uint64_t>(i) * step + schedule) % blocks);
}

// What one block needs. Under ThreadSanitizer it is kept until the launch ends: nothing orders one block before the
// next, so that memory used again would look like a race between them.
struct Running {
  Running(unsigned threads, size_t shared) : stacks(static_cast<int>(threads)), memory(new char[shared + 128]) {
    block.shared = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory.get()) + 127) / 128 * 128);
#ifdef COH_ASAN
    __asan_poison_memory_region(block.shared + shared, memory.get() + 128 - block.shared);
#endif
  }
  Block block;
  Stacks stacks;
  std::unique_ptr<char[]> memory;
};

// Calls body(argument) in every thread. Throws std::runtime_error for what is undefined on a GPU.
inline void launch(unsigned blocks, unsigned threads, size_t shared, unsigned schedule, void (*body)(void*),
                   void* argument) {
  std::vector<std::unique_ptr<Running>> held;
  char end_order;
  std::string error;
  for (unsigned i = 0; i < blocks && error.empty(); ++i) {
#ifdef COH_TSAN
    held.push_back(std::make_unique<Running>(threads, shared));
#else
    if (held.empty()) held.push_back(std::make_unique<Running>(threads, shared));
    if (__start_coh_shared) fill(__start_coh_shared, __stop_coh_shared);
#endif
    Running& running = *held.back();
    char* const place = running.block.shared;
    running.block = Block{};
    Block& b = running.block;
    b.shared = place;
    fill(place, place + shared);
    b.id = {block_order(i, blocks, schedule), 0, 0}, b.size = {threads}, b.grid = {blocks};
    b.threads = static_cast<int>(threads), b.warps = static_cast<int>((threads + kWarp - 1) / kWarp);
    b.thread.resize(threads);
    b.warp_order.resize(2 * b.warps);
    b.warp_syncs_passed.resize(b.warps);
    b.body = body, b.argument = argument, b.end_order = &end_order;
#ifdef COH_TSAN
    std::thread([&] { run_block(&b, running.stacks, schedule); }).join();
#else
    run_block(&b, running.stacks, schedule);
#endif
    error = b.error;
  }
#ifdef COH_TSAN
  __tsan_acquire(&end_order);  // the host, and later launches, come after all of it
#endif
  if (!error.empty()) throw std::runtime_error(error);
}

}  // namespace coh
