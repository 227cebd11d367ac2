// require(): a ValueError in Python if an argument is not what it must be.
#pragma once

#include <sstream>
#include <stdexcept>

namespace netdissect {

// The message is composed only when it is needed: this runs for every crop.
template <class... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

}  // namespace netdissect
