#include "binding/projection.h"

#include <cstdint>
#include <string>

#include "binding/errors.h"
#include "binding/specs.h"
#include "engine/projection.h"

namespace tinylora::binding {
namespace {

Distribution read_distribution(const Argument& argument) {
  const std::string name = argument.text();
  if (name == "normal") return Distribution::normal;
  if (name == "uniform") return Distribution::uniform;
  if (name == "orthogonal") return Distribution::orthogonal;
  if (name == "unit") return Distribution::unit;
  argument.refuse("\"normal\", \"uniform\", \"orthogonal\" or \"unit\"");
}

}  // namespace

Napi::Value projection(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Argument spec(info, 0, "spec");
    const auto seed = static_cast<std::uint64_t>(spec["seed"].integer(0, kMaxSafeInteger));
    const auto module = static_cast<std::uint32_t>(spec["module"].integer(0, 0xffffffffLL));
    const int u = spec["u"].number_of(1, 1 << 16);
    const int rank = spec["rank"].number_of(1, kMaxRank);
    return to_js(info.Env(), tinylora::projection(seed, module, u, rank, read_distribution(spec["distribution"])));
  });
}

}  // namespace tinylora::binding
