// All kernels, written once over a `Simd` (plain-inl.h): every variant includes this after its own.
#include "cpu/common-inl.h"
#include "cpu/count-inl.h"
#include "cpu/keep-inl.h"
#include "cpu/order-inl.h"
#include "cpu/prune-inl.h"
