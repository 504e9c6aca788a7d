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

struct LaunchResult {
  std::optional<LaunchFailure> failure;
  WrittenRanges written;
};

/** Counters are added to `sites`. The first mistake ends the launch. */
LaunchResult runGrid(const Launch& launch, uint32_t threads, std::vector<SiteCounters>& sites);

}  // namespace cudasim
