// CUDA threads as fibers on one OS thread: what a thread and a block are, and switching between them.
// The sanitizers are told of every switch; under ThreadSanitizer the fibers are threads of their own, and only what
// orders memory on a GPU orders it here.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define COH_ASAN 1
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#define COH_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif
// The scheduler itself is not instrumented: it looks at every fiber's state.
#define COH_SCHEDULER __attribute__((no_sanitize("thread"), no_sanitize("address"), noinline))

#if !defined(__x86_64__)  // portable, about 20 times dearer: a system call for each switch
#include <ucontext.h>
#define COH_UCONTEXT 1
#endif

namespace coh {

constexpr int kWarp = 32;
constexpr size_t kPage = 4096;
#if defined(COH_ASAN) || defined(COH_TSAN)
constexpr size_t kStack = 256u << 10;
#else
constexpr size_t kStack = 64u << 10;
#endif

struct dim3 {
  unsigned x, y = 1, z = 1;
};

enum class State : uint8_t { kReady, kInWarpOperation, kAtBarrier, kExited };
enum class Operation : uint8_t {
  kNone,
  kBallot,
  kAll,
  kAny,
  kShuffle,
  kSyncWarp,
  kMatch,
  kBarrier,
  kBarrierOr,
  kBarrierAnd,
  kBarrierCount
};  // clang-format keeps this short

struct Thread {
  dim3 id;
  int number, lane, warp;
  State state;
  Operation operation;
  int line;        // of the collective it waits in
  uint32_t mask;   // that it named there
  uint64_t value;  // that it brought
  uint64_t result;
  int source;  // lane that it shuffles from
  char* stack;
  void* stack_pointer;
  void* fake_stack;  // AddressSanitizer's
  void* fiber;       // ThreadSanitizer's
#ifdef COH_UCONTEXT
  ucontext_t context;
#endif
};

struct Block {
  dim3 id, size, grid;
  int threads = 0, warps = 0, alive = 0, at_barrier = 0;
  std::vector<Thread> thread;
  char* shared = nullptr;  // dynamic shared memory
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  unsigned random = 1;
  std::string error;
  // Objects that ThreadSanitizer sees released and acquired. A barrier has two, used in turn: with one, a late waker
  // would also acquire what arrives at the next barrier, and half the races would vanish.
  char barrier_order[2], *end_order = nullptr;
  std::vector<char> warp_order;
  unsigned barriers_passed = 0;
  std::vector<unsigned char> warp_syncs_passed;
  void* stack_pointer = nullptr;
  void* fake_stack = nullptr;
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
  void* fiber = nullptr;
#ifdef COH_UCONTEXT
  ucontext_t context;
#endif
};

inline thread_local Thread* current = nullptr;
inline thread_local Block* block = nullptr;

#if !defined(COH_UCONTEXT)
extern "C" void coh_switch(void** save, void* to);
asm(".text\n.weak coh_switch\n.type coh_switch,@function\ncoh_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size coh_switch,.-coh_switch\n");
#endif

COH_SCHEDULER inline void to_scheduler([[maybe_unused]] bool dying = false) {
  Thread* me = current;
#ifdef COH_ASAN
  __sanitizer_start_switch_fiber(dying ? nullptr : &me->fake_stack, block->stack_bottom, block->stack_size);
#endif
#ifdef COH_TSAN
  __tsan_switch_to_fiber(block->fiber, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef COH_UCONTEXT
  swapcontext(&me->context, &block->context);
#else
  coh_switch(&me->stack_pointer, block->stack_pointer);
#endif
#ifdef COH_ASAN
  __sanitizer_finish_switch_fiber(me->fake_stack, nullptr, nullptr);
#endif
}

COH_SCHEDULER inline void to_thread(Block* b, Thread* t) {
  current = t;
#ifdef COH_ASAN
  __sanitizer_start_switch_fiber(&b->fake_stack, t->stack, kStack);
#endif
#ifdef COH_TSAN
  __tsan_switch_to_fiber(t->fiber, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef COH_UCONTEXT
  swapcontext(&b->context, &t->context);
#else
  coh_switch(&b->stack_pointer, t->stack_pointer);
#endif
#ifdef COH_ASAN
  __sanitizer_finish_switch_fiber(b->fake_stack, nullptr, nullptr);
#endif
  current = nullptr;
}

// Makes a thread's fiber start at `entry` when next switched to.
COH_SCHEDULER inline void prepare(Thread& t, void (*entry)()) {
#ifdef COH_ASAN
  __asan_unpoison_memory_region(t.stack, kStack);
#endif
#ifdef COH_UCONTEXT
  getcontext(&t.context);
  t.context.uc_stack.ss_sp = t.stack;
  t.context.uc_stack.ss_size = kStack;
  t.context.uc_link = nullptr;
  makecontext(&t.context, entry, 0);
#else
  void** top = reinterpret_cast<void**>(t.stack + kStack) - 1;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // the registers that coh_switch pops
  t.stack_pointer = top;
#endif
#ifdef COH_TSAN
  t.fiber = __tsan_create_fiber(0);
#endif
}

// One stack for each thread of a block, with a page below it that must not be touched.
class Stacks {
 public:
  explicit Stacks(int count)
      : count_(count),
        base_(static_cast<char*>(
            mmap(nullptr, kEach * count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    for (int i = 0; i < count; ++i) mprotect(base_ + kEach * i, kPage, PROT_NONE);
  }
  ~Stacks() { munmap(base_, kEach * count_); }
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  char* operator[](int i) const { return base_ + kEach * i + kPage; }

 private:
  static constexpr size_t kEach = kStack + kPage;
  int count_;
  char* base_;
};

}  // namespace coh
