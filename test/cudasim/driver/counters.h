// What instructions did, as the members of a JSON object: in total, and by the form of the instruction.
#pragma once

#include <string>
#include <vector>

#include "machine/program.h"
#include "machine/worker.h"

namespace cudasim {

std::string countersJson(const Program& program, const std::vector<SiteCounters>& sites);

}  // namespace cudasim
