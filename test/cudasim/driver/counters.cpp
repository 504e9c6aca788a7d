#include "driver/counters.h"

#include <map>
#include <sstream>

namespace cudasim {
namespace {

std::string object(const SiteCounters& counted) {
  std::ostringstream out;
  out << "\"executed\":" << counted.executed;
  if (counted.wavefronts != 0) {
    out << ",\"wavefronts\":" << counted.wavefronts << ",\"idealWavefronts\":" << counted.idealWavefronts;
  }
  if (counted.sectors != 0) out << ",\"sectors\":" << counted.sectors << ",\"usefulBytes\":" << counted.usefulBytes;
  return out.str();
}

}  // namespace

std::string countersJson(const Program& program, const std::vector<SiteCounters>& sites) {
  std::map<std::string, SiteCounters> byForm;
  SiteCounters all, mma, barriers, local;
  for (size_t pc = 0; pc < sites.size(); ++pc) {
    const std::string& form = program.forms[program.code[pc].form];
    byForm[form].add(sites[pc]);
    all.add(sites[pc]);
    if (form.rfind("mma.", 0) == 0 || form.rfind("wgmma.mma", 0) == 0) mma.add(sites[pc]);
    if (form.rfind("bar", 0) == 0 && form.find("warp") == std::string::npos) barriers.add(sites[pc]);
    if (form.find(".local") != std::string::npos) local.add(sites[pc]);
  }
  std::ostringstream out;
  out << object(all) << ",\"mma\":" << mma.executed << ",\"barriers\":" << barriers.executed
      << ",\"localAccesses\":" << local.executed << ",\"registers\":" << program.registersUsed
      << ",\"staticShared\":" << program.staticShared << ",\"forms\":{";
  bool first = true;
  for (const auto& [form, counted] : byForm) {
    if (counted.executed == 0) continue;
    out << (first ? "" : ",") << "\"" << form << "\":{" << object(counted) << "}";
    first = false;
  }
  out << "}";
  return out.str();
}

}  // namespace cudasim
