// The vocabulary of CUDA for a C++ compiler: include this, then the text of the kernels, then entry.hpp.
// Threads of a block are fibers (scheduler.hpp); barriers, votes, shuffles and atomics have their true meaning.
#pragma once

#include <cmath>
#include <type_traits>

#include "scheduler.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static const
#define NDF_DYN_SMEM(T, name) T* const name = reinterpret_cast<T*>(coh::block->shared)

using coh::dim3;
#define COH_VECTOR(T, name)                                                          \
  struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                 \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; }; \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }                         \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
COH_VECTOR(int, int)
COH_VECTOR(unsigned, uint)
COH_VECTOR(float, float)
COH_VECTOR(short, short)
COH_VECTOR(unsigned short, ushort)
COH_VECTOR(long long, longlong)
COH_VECTOR(unsigned long long, ulonglong)
#undef COH_VECTOR

#define threadIdx (coh::current->id)
#define blockIdx (coh::block->id)
#define blockDim (coh::block->size)
#define gridDim (coh::block->grid)
#define warpSize 32

#define __syncthreads() ((void)coh::barrier(coh::Operation::kBarrier, __LINE__, 0))
#define __syncthreads_or(p) ((int)coh::barrier(coh::Operation::kBarrierOr, __LINE__, (p) != 0))
#define __syncthreads_and(p) ((int)coh::barrier(coh::Operation::kBarrierAnd, __LINE__, (p) != 0))
#define __syncthreads_count(p) ((int)coh::barrier(coh::Operation::kBarrierCount, __LINE__, (p) != 0))
#define COH_FIRST(a, ...) a
#define __syncwarp(...) \
  ((void)coh::warp_operation(coh::Operation::kSyncWarp, __LINE__, COH_FIRST(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu), 0))
#define __ballot_sync(m, p) ((unsigned)coh::warp_operation(coh::Operation::kBallot, __LINE__, (m), (p) != 0))
#define __all_sync(m, p) ((int)coh::warp_operation(coh::Operation::kAll, __LINE__, (m), (p) != 0))
#define __any_sync(m, p) ((int)coh::warp_operation(coh::Operation::kAny, __LINE__, (m), (p) != 0))
#define __match_any_sync(m, v) ((unsigned)coh::warp_operation(coh::Operation::kMatch, __LINE__, (m), (v)))
#define __shfl_sync(...) coh::shuffle(__LINE__, coh::From::kLane, __VA_ARGS__)
#define __shfl_up_sync(...) coh::shuffle(__LINE__, coh::From::kUp, __VA_ARGS__)
#define __shfl_down_sync(...) coh::shuffle(__LINE__, coh::From::kDown, __VA_ARGS__)
#define __shfl_xor_sync(...) coh::shuffle(__LINE__, coh::From::kXor, __VA_ARGS__)
#define __trap() coh::fail("__trap()")
inline unsigned __activemask() { return 1u << coh::current->lane; }  // of all true answers the least helpful
inline void __threadfence() {}
inline void __threadfence_block() {}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((1ull * a * b) >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  return static_cast<unsigned>(((static_cast<unsigned long long>(high) << 32 | low) << (by & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
  return static_cast<unsigned>((static_cast<unsigned long long>(high) << 32 | low) >> (by & 31));
}

namespace coh {
template <class To, class From>
inline To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
}  // namespace coh
inline float __int_as_float(int x) { return coh::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return coh::bits<float>(x); }
inline int __float_as_int(float x) { return coh::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return coh::bits<unsigned>(x); }

// Rounded as the .rn forms of PTX are, given -ffp-contract=off.
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }

template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class A, class B>
inline std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
inline std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(b) : T(a);
}

// Only the types that CUDA has these for.
namespace coh {
template <class T>
constexpr bool kWord = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;
template <class T>
constexpr bool kOrdered = kWord<T> || std::is_same_v<T, long long>;

template <class T, class F>
inline T update(T* p, F&& change) {
  T old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(p, &old, change(old), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
}  // namespace coh
#define COH_ATOMIC(name, types, change)                        \
  template <class T>                                           \
  inline T name(T* p, std::type_identity_t<T> v) {             \
    static_assert(coh::types<T>, "CUDA has no such " #name);   \
    return coh::update(p, [=](T old) -> T { return change; }); \
  }
COH_ATOMIC(atomicAdd, kWord, old + v)
COH_ATOMIC(atomicMin, kOrdered, v < old ? v : old)
COH_ATOMIC(atomicMax, kOrdered, old < v ? v : old)
COH_ATOMIC(atomicAnd, kWord, old& v)
COH_ATOMIC(atomicOr, kWord, old | v)
COH_ATOMIC(atomicXor, kWord, old ^ v)
COH_ATOMIC(atomicExch, kWord, v)
#undef COH_ATOMIC
template <class T>
inline T atomicSub(T* p, std::type_identity_t<T> v) {
  return atomicAdd(p, T(0) - v);
}
template <class T>
inline T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  static_assert(coh::kWord<T>, "CUDA has no such atomicCAS");
  return coh::update(p, [=](T old) { return old == expected ? v : old; });
}
