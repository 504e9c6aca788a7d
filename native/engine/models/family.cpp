#include "engine/models/family.h"

namespace tinylora {
namespace {

constexpr const Family* kFamilies[] = {&llama, &qwen2, &qwen3};

}  // namespace

const Family* find_family(const std::string& name) {
  for (const Family* family : kFamilies) {
    if (name == family->name) return family;
  }
  return nullptr;
}

std::string family_names() {
  std::string names;
  for (const Family* family : kFamilies) names += (names.empty() ? "" : ", ") + std::string(family->name);
  return names;
}

}  // namespace tinylora
