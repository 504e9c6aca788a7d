// Runs all blocks of a launch.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "machine/fault.h"
#include "machine/worker.h"

namespace cudasim {

struct LaunchFailure {
  FaultKind kind;
  std::string report;
};

/** Counters are added to `sites`. The first mistake ends the launch. */
std::optional<LaunchFailure> runGrid(const Launch& launch, uint32_t threads, std::vector<SiteCounters>& sites);

}  // namespace cudasim
