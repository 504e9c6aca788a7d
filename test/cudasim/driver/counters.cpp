#include "driver/counters.h"

#include <cstdlib>
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

/** What one execution of a form by a warp comes to in mma.m16n8k16: a wgmma of N columns is N / 8 of them for each of
 * its four warps. */
uint64_t mmaOf(const std::string& form) {
  if (form.rfind("mma.", 0) == 0) return 1;
  if (form.rfind("wgmma.mma", 0) != 0) return 0;
  return std::strtoull(form.c_str() + form.find(".m64n") + 5, nullptr, 10) / 8;
}

}  // namespace

std::string countersJson(const Program& program, const std::vector<SiteCounters>& sites) {
  std::map<std::string, SiteCounters> byForm;
  SiteCounters all, barriers, local;
  uint64_t mma = 0;
  for (size_t pc = 0; pc < sites.size(); ++pc) {
    const std::string& form = program.forms[program.code[pc].form];
    byForm[form].add(sites[pc]);
    all.add(sites[pc]);
    mma += mmaOf(form) * sites[pc].executed;
    if (form.rfind("bar", 0) == 0 && form.find("warp") == std::string::npos) barriers.add(sites[pc]);
    if (form.find(".local") != std::string::npos) local.add(sites[pc]);
  }
  std::ostringstream out;
  out << object(all) << ",\"mma\":" << mma << ",\"barriers\":" << barriers.executed
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
