// Barriers, ballots and shuffles between fibers, strict: what is undefined on a GPU is reported, not made to work.
// A warp operation waits for every lane of its mask that has not exited to name the same mask at the same line.
#pragma once

#include "fibers.hpp"

namespace coh {

COH_SCHEDULER inline void report(const std::string& what) {
  if (block->error.empty()) block->error = "block " + std::to_string(block->id.x) + ": " + what;
}

COH_SCHEDULER inline std::string describe(const Thread& t) {
  char text[120];
  snprintf(text, sizeof text, "thread %d (warp %d, lane %d), line %d, mask %08x", t.number, t.warp, t.lane, t.line,
           t.mask);
  return text;
}

// Gives the block up; the scheduler reports.
COH_SCHEDULER inline void fail(const std::string& what) {
  report(what + ": " + describe(*current));
  current->state = State::kExited;
  block->alive--;
  to_scheduler();
}

COH_SCHEDULER inline int lanes_of(const Block& b, int warp) {
  const int rest = b.threads - warp * kWarp;
  return rest < kWarp ? rest : kWarp;
}

// Completes the operation of `mask` if every lane of it that lives is there.
COH_SCHEDULER inline void try_warp(Block* b, int warp, uint32_t mask) {
  Thread* lane = &b->thread[warp * kWarp];
  const int lanes = lanes_of(*b, warp);
  const Thread* first = nullptr;
  uint32_t live = 0, set = 0;
  for (int l = 0; l < lanes; ++l) {
    if (!(mask >> l & 1) || lane[l].state == State::kExited) continue;
    // Not there yet? It may wait in another operation with some of the lanes; a true mismatch ends in a deadlock.
    if (lane[l].state != State::kInWarpOperation || lane[l].mask != mask) return;
    if (!first) first = &lane[l];
    if (lane[l].operation != first->operation || lane[l].line != first->line)
      return report("lanes of one mask meet in different operations: " + describe(*first) + " and " +
                    describe(lane[l]));
    live |= 1u << l;
    if (lane[l].value) set |= 1u << l;
  }
  if (!first) return;
  const Operation operation = first->operation;
  for (int l = 0; l < lanes; ++l) {
    if (!(live >> l & 1)) continue;
    Thread& t = lane[l];
    switch (operation) {
      case Operation::kAll:
        t.result = set == live;
        break;
      case Operation::kAny:
        t.result = set != 0;
        break;
      case Operation::kShuffle:
        if (!(live >> t.source & 1))
          report("shuffle from lane " + std::to_string(t.source) +
                 ", which is not in the mask or has exited: " + describe(t));
        t.result = lane[t.source].value;
        break;
      case Operation::kMatch:
        t.result = 0;
        for (int q = 0; q < lanes; ++q)
          if ((live >> q & 1) && lane[q].value == t.value) t.result |= 1u << q;
        break;
      default:
        t.result = set;
    }
    t.state = State::kReady;
  }
  if (operation == Operation::kSyncWarp) b->warp_syncs_passed[warp]++;
}

// Lets the block go on if all of its threads that live are at the barrier.
COH_SCHEDULER inline void try_barrier(Block* b) {
  if (!b->alive || b->at_barrier != b->alive) return;
  const Thread* first = nullptr;
  unsigned count = 0;
  for (const Thread& t : b->thread) {
    if (t.state != State::kAtBarrier) continue;
    if (!first) first = &t;
    if (t.operation != first->operation || t.line != first->line)
      return report("threads wait at different barriers: " + describe(*first) + " and " + describe(t));
    count += t.value != 0;
  }
  const unsigned there = b->alive;
  for (Thread& t : b->thread) {
    if (t.state != State::kAtBarrier) continue;
    t.result = t.operation == Operation::kBarrierOr    ? count != 0
               : t.operation == Operation::kBarrierAnd ? count == there
                                                       : count;
    t.state = State::kReady;
  }
  b->at_barrier = 0;
  b->barriers_passed++;
}

COH_SCHEDULER inline uint64_t warp_operation(Operation operation, int line, uint32_t mask, uint64_t value,
                                             int source = 0) {
  Thread* t = current;
  t->operation = operation, t->line = line, t->mask = mask, t->value = value, t->source = source;
  if (!(mask >> t->lane & 1)) fail("calling lane is not in its own mask");
  t->state = State::kInWarpOperation;
#ifdef COH_TSAN
  // Only __syncwarp orders memory; votes and shuffles do not.
  char* order = &block->warp_order[2 * t->warp + (block->warp_syncs_passed[t->warp] & 1)];
  if (operation == Operation::kSyncWarp) __tsan_release(order);
#endif
  try_warp(block, t->warp, mask);
  if (t->state != State::kReady || !block->error.empty()) to_scheduler();
#ifdef COH_TSAN
  if (operation == Operation::kSyncWarp) __tsan_acquire(order);
#endif
  return t->result;
}

COH_SCHEDULER inline uint64_t barrier(Operation operation, int line, uint64_t value) {
  Thread* t = current;
  t->operation = operation, t->line = line, t->mask = 0, t->value = value;
  t->state = State::kAtBarrier;
  block->at_barrier++;
#ifdef COH_TSAN
  char* order = &block->barrier_order[block->barriers_passed & 1];
  __tsan_release(order);
#endif
  try_barrier(block);
  to_scheduler();
#ifdef COH_TSAN
  __tsan_acquire(order);
#endif
  return t->result;
}

enum class From { kLane, kUp, kDown, kXor };

template <class T>
T shuffle(int line, From from, uint32_t mask, T value, int by, int width = kWarp) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  const int lane = current->lane, low = lane & ~(width - 1), high = lane | (width - 1);
  int source = lane;
  if (from == From::kLane) source = low | (by & (width - 1));
  if (from == From::kUp) source = lane - by < low ? lane : lane - by;
  if (from == From::kDown) source = lane + by > high ? lane : lane + by;
  if (from == From::kXor) source = (lane ^ by) > high ? lane : lane ^ by;
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = warp_operation(Operation::kShuffle, line, mask, bits, source);
  memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace coh
