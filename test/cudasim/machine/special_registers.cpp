#include "machine/special_registers.h"

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "machine/block.h"

namespace cudasim {
namespace {

/** The value for a thread of a block. */
using Value = std::function<uint32_t(const Block&, uint32_t thread)>;

uint32_t Dim3::*const kAxes[3] = {&Dim3::x, &Dim3::y, &Dim3::z};

uint32_t clusterOf(const Block& block, size_t axis) { return block.worker.launch.cluster.*kAxes[axis]; }
uint32_t rankInCluster(const Block& block, size_t axis) { return block.index.*kAxes[axis] % clusterOf(block, axis); }

std::unordered_map<std::string, Value> makeTable() {
  std::unordered_map<std::string, Value> table;
  const char* suffixes[3] = {".x", ".y", ".z"};
  for (size_t axis = 0; axis < 3; ++axis) {
    const std::string suffix = suffixes[axis];
    table["%ntid" + suffix] = [axis](const Block& b, uint32_t) { return b.worker.launch.block.*kAxes[axis]; };
    table["%nctaid" + suffix] = [axis](const Block& b, uint32_t) { return b.worker.launch.grid.*kAxes[axis]; };
    table["%ctaid" + suffix] = [axis](const Block& b, uint32_t) { return b.index.*kAxes[axis]; };
    table["%cluster_nctaid" + suffix] = [axis](const Block& b, uint32_t) { return clusterOf(b, axis); };
    table["%cluster_ctaid" + suffix] = [axis](const Block& b, uint32_t) { return rankInCluster(b, axis); };
    table["%clusterid" + suffix] = [axis](const Block& b, uint32_t) {
      return b.index.*kAxes[axis] / clusterOf(b, axis);
    };
    table["%nclusterid" + suffix] = [axis](const Block& b, uint32_t) {
      return b.worker.launch.grid.*kAxes[axis] / clusterOf(b, axis);
    };
  }
  table["%tid.x"] = [](const Block& b, uint32_t t) { return t % b.worker.launch.block.x; };
  table["%tid.y"] = [](const Block& b, uint32_t t) { return t / b.worker.launch.block.x % b.worker.launch.block.y; };
  table["%tid.z"] = [](const Block& b, uint32_t t) { return t / b.worker.launch.block.x / b.worker.launch.block.y; };
  table["%laneid"] = [](const Block&, uint32_t t) { return t % kLanes; };
  table["%warpid"] = [](const Block&, uint32_t t) { return t / kLanes; };
  table["%nwarpid"] = [](const Block&, uint32_t) { return kMaxWarps; };
  table["%smid"] = [](const Block&, uint32_t) { return 0u; };
  table["%nsmid"] = [](const Block&, uint32_t) { return 1u; };
  table["%lanemask_lt"] = [](const Block&, uint32_t t) { return (1u << t % kLanes) - 1; };
  table["%lanemask_le"] = [](const Block&, uint32_t t) { return (2u << t % kLanes) - 1; };
  table["%lanemask_eq"] = [](const Block&, uint32_t t) { return 1u << t % kLanes; };
  table["%lanemask_ge"] = [](const Block&, uint32_t t) { return ~((1u << t % kLanes) - 1); };
  table["%lanemask_gt"] = [](const Block&, uint32_t t) { return ~((2u << t % kLanes) - 1); };
  table["%dynamic_smem_size"] = [](const Block& b, uint32_t) { return b.worker.launch.dynamicShared; };
  table["%total_smem_size"] = [](const Block& b, uint32_t) { return b.shared.size(); };
  table["%cluster_ctarank"] = [](const Block& b, uint32_t) {
    return rankInCluster(b, 0) + clusterOf(b, 0) * (rankInCluster(b, 1) + clusterOf(b, 1) * rankInCluster(b, 2));
  };
  table["%cluster_nctarank"] = [](const Block& b, uint32_t) {
    return static_cast<uint32_t>(b.worker.launch.cluster.count());
  };
  return table;
}

const std::unordered_map<std::string, Value>& table() {
  static const std::unordered_map<std::string, Value> made = makeTable();
  return made;
}

}  // namespace

uint32_t specialRegisterBytes(const std::string& name) { return table().contains(name) ? 4 : 0; }

void setSpecialRegisters(Warp& warp) {
  for (const SpecialRegister& special : warp.block.worker.program.specials) {
    if (const std::string_view name = special.name; name.starts_with(kParameters)) {
      const size_t plus = name.find('+');
      const uint64_t offset = plus == name.npos ? 0 : std::stoull(special.name.substr(plus + 1));
      std::fill_n(warp.reg<uint64_t>(special.slot), kLanes, warp.block.worker.launch.parameters + offset);
      continue;
    }
    const Value& value = table().at(special.name);
    uint32_t* out = warp.reg<uint32_t>(special.slot);
    for (uint32_t lane = 0; lane < kLanes; ++lane) out[lane] = value(warp.block, kLanes * warp.index + lane);
  }
}

}  // namespace cudasim
