// Memory of the host that runs out where a test says.
#pragma once

#include <cstdint>

namespace tinylora::test {

/// The allocation of this place of the calling thread from now on, 1 the next, throws std::bad_alloc; 0: none. Returns
/// how many were left before; 0: it has thrown, or there was none.
std::uint64_t fail_allocation(std::uint64_t place);

}  // namespace tinylora::test
