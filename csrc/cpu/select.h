// Which variant runs on this CPU.
#pragma once

#include <string>
#include <vector>

#include "cpu/variant.h"

namespace netdissect {

// The variants compiled in that this CPU can run, best first.
std::vector<const Kernels*> available_kernels();

// The variant named; "" = NETDISSECT_FAST_ISA or, without it, the best. std::invalid_argument for any other name.
const Kernels& select_kernels(const std::string& name);

}  // namespace netdissect
