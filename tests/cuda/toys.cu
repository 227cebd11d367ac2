// Small kernels that use what a GPU has, to try the test engines on. Each line that a defect is seeded in says so.
#ifndef NDF_DYN_SMEM
#define NDF_DYN_SMEM(T, name) extern __shared__ __align__(16) T name[]
#endif
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

// Partial masks, ballots inside divergent code, lanes that exit early, a loop over set lanes.
extern "C" __global__ void warps(const int* x, int n, int* out, u64* histogram) {
  __shared__ u32 seen[64];
  const int g = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
  if (threadIdx.x < 64) seen[threadIdx.x] = 0;
  __syncthreads();  // after clearing
  const int v = g < n ? x[g] : -1;
  const u32 there = __ballot_sync(0xffffffffu, v >= 0);
  if (v < 0) {
    if (g < n) out[g] = -7;
    return;
  }
  const u32 odd = __ballot_sync(there, v & 1);
  int r;
  if (v & 1) {
    const int leader = __ffs(odd) - 1;
    r = __shfl_sync(odd, v, leader) * 1000 + __popc(odd & ((1u << lane) - 1u));
  } else {
    const u32 even = there & ~odd;
    const int leader = __ffs(even) - 1;
    r = -(__shfl_sync(even, v, leader) * 1000 + __popc(even & ((1u << lane) - 1u)));
  }
  __syncwarp(there);
  out[g] = r + (__all_sync(there, v > 0) ? 1000000 : 0) + (__any_sync(there, v > 90) ? 2000000 : 0);
  atomicAdd(&seen[v & 63], 1u);
  u32 sum = 0;
  for (u32 left = there; left; left &= left - 1) sum += (u32)__shfl_sync(there, v, __ffs(left) - 1);
  if (lane == __ffs(there) - 1) {
    atomicAdd(&histogram[64], (u64)sum);
    atomicMax(&histogram[65], (u64)sum);
  }
  atomicAdd(&histogram[v & 63], 1ull);
}

// Sums up to each element of a block, in dynamic shared memory.
extern "C" __global__ void scan(const i64* x, i64* y, int n) {
  NDF_DYN_SMEM(i64, part);
  const int t = threadIdx.x, g = blockIdx.x * blockDim.x + t;
  part[t] = g < n ? x[g] : 0;
  __syncthreads();  // after loading
  for (int d = 1; d < (int)blockDim.x; d <<= 1) {
    const i64 before = t >= d ? part[t - d] : 0;
    __syncthreads();  // after reading
    part[t] += before;
    __syncthreads();  // after adding
  }
  if (g < n) y[g] = part[t];
}

// Neighbours swapped through shared memory, one warp, only __syncwarp.
extern "C" __global__ void swap(const int* x, int* y) {
  __shared__ int part[32];
  part[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  y[threadIdx.x] = part[threadIdx.x ^ 1];
}

// a·b + c with each operation rounded, and flushed; and what depends on which thread comes first.
extern "C" __global__ void arithmetic(const float* a, const float* b, const float* c, float* sum, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum[i] = __fadd_rn(__fmul_rn(a[i], b[i]), c[i]);
}
