// Modules: PTX text in, kernels and variables out. Kernels are decoded when they are first asked for.
#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "driver/device.h"
#include "machine/fault.h"
#include "machine/shared_memory.h"
#include "ptx/parser.h"
#include "ptx/scanner.h"

using namespace cudasim;

namespace {

constexpr uint32_t kElf = 0x464C457F, kFatbin = 0xBA55ED50;
// Options of cuModuleLoadDataEx.
constexpr int kErrorLog = 5, kErrorLogSize = 6;

Module* find(Device& device, CUmodule handle) {
  const auto found = device.modules.find(reinterpret_cast<Module*>(handle));
  return found == device.modules.end() ? nullptr : found->second.get();
}

/** Places the module's variables; shared ones get their offset in each block. */
bool placeVariables(Device& device, Module& module) {
  uint32_t shared = 0;  // bytes
  for (const ptx::Variable& variable : module.text->variables) {
    Symbol& symbol = module.symbols[variable.name];
    symbol.space = variable.space;
    if (variable.space == "shared") {
      symbol.space = variable.isExtern ? "dynamic" : "shared";
      if (variable.isExtern) continue;
      const uint32_t at = sharedPlace(shared, std::max<uint64_t>(variable.align, 4));
      symbol.address = kSharedBase + at;
      shared = at + static_cast<uint32_t>(variable.size);
      continue;
    }
    symbol.address = device.memory.allocate(std::max<uint64_t>(variable.size, 1), variable.name);
    if (symbol.address == 0) return false;
    module.globals[variable.name] = {symbol.address, variable.size};
    std::memset(reinterpret_cast<void*>(symbol.address), 0, variable.size);  // as the language promises
    device.memory.markDefined(symbol.address, variable.size);
    std::memcpy(reinterpret_cast<void*>(symbol.address), variable.initial.data(), variable.initial.size());
  }
  for (const ptx::Variable& variable : module.text->variables) {
    for (const auto& relocation : variable.relocations) {
      const auto target = module.symbols.find(relocation.symbol);
      if (target == module.symbols.end()) continue;
      const uint64_t value = target->second.address + relocation.addend;
      std::memcpy(reinterpret_cast<void*>(module.symbols[variable.name].address + relocation.offset), &value,
                  sizeof value);
    }
  }
  return true;
}

std::shared_ptr<const ptx::Module> parse(Device& device, const std::string& text) {
  std::shared_ptr<const ptx::Module>& known = device.parsed[text];
  if (known == nullptr) known = std::make_shared<const ptx::Module>(ptx::parse(text));
  return known;
}

/** The module that Settings::replacement names. */
std::shared_ptr<const ptx::Module> replacement(Device& device) {
  const std::string& file = device.settings.replacement;
  std::ostringstream text;
  if (!(text << std::ifstream(file).rdbuf()))
    throw std::runtime_error("CUDASIM_PTX: " + file + " cannot be read, or is empty");
  try {
    return parse(device, text.str());
  } catch (const std::exception& error) {
    throw std::runtime_error("CUDASIM_PTX: " + file + ": " + error.what());
  }
}

/** The replacement where it is of this module, that is where the module has its first kernel. */
std::shared_ptr<const ptx::Module> replaced(Device& device, std::shared_ptr<const ptx::Module> module) {
  if (device.settings.replacement.empty()) return module;
  const auto other = replacement(device);
  const auto isKernel = [](const ptx::Function& function) { return function.isKernel && function.isDefined; };
  const auto first = std::find_if(other->functions.begin(), other->functions.end(), isKernel);
  if (first == other->functions.end()) {
    throw std::runtime_error("CUDASIM_PTX: " + device.settings.replacement + " has no kernel");
  }
  const auto isFirst = [&](const ptx::Function& function) { return function.isKernel && function.name == first->name; };
  return std::any_of(module->functions.begin(), module->functions.end(), isFirst) ? other : module;
}

bool fits(const Device& device, const ptx::Module& text, std::string& log) {
  const int arch = device.settings.arch;
  if (text.target <= arch && (!text.targetIsSpecific || text.target == arch)) return true;
  log = "PTX for sm_" + std::to_string(text.target) + " on sm_" + std::to_string(arch);
  return false;
}

CUresult load(Device& device, CUmodule* handle, const void* image, std::string& log) {
  if (image == nullptr || handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint32_t magic;
  std::memcpy(&magic, image, sizeof magic);
  if (magic == kElf || magic == kFatbin) {
    log = "machine code: cudasim runs PTX";
    return CUDA_ERROR_NO_BINARY_FOR_GPU;
  }
  auto module = std::make_unique<Module>();
  try {
    module->text = parse(device, static_cast<const char*>(image));
    if (!fits(device, *module->text, log)) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    module->text = replaced(device, module->text);
    if (!fits(device, *module->text, log)) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  } catch (const std::exception& error) {
    log = error.what();
    return CUDA_ERROR_INVALID_PTX;
  }
  if (!placeVariables(device, *module)) return CUDA_ERROR_OUT_OF_MEMORY;
  *handle = reinterpret_cast<CUmodule>(module.get());
  device.modules[module.get()] = std::move(module);
  return CUDA_SUCCESS;
}

}  // namespace

CUDASIM_API CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, int* options,
                                        void** values) {
  return guardedOutsideCapture("cuModuleLoadData", [=](Device& device) {
    std::string log;
    const CUresult result = load(device, module, image, log);
    if (log.empty()) return result;
    if (result == CUDA_ERROR_INVALID_PTX) device.report(log);
    size_t size = 0;
    char* buffer = nullptr;
    for (unsigned i = 0; i < count; ++i) {
      if (options[i] == kErrorLog) buffer = static_cast<char*>(values[i]);
      if (options[i] == kErrorLogSize) size = reinterpret_cast<size_t>(values[i]);
    }
    if (buffer != nullptr && size != 0) {
      const size_t kept = std::min(log.size(), size - 1);
      std::memcpy(buffer, log.data(), kept);
      buffer[kept] = '\0';
    }
    return result;
  });
}

CUDASIM_API CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  if (Device::instance().refuses("cuModuleLoadData")) return CUDA_ERROR_OUT_OF_MEMORY;
  return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

CUDASIM_API CUresult cuModuleUnload(CUmodule handle) {
  return guarded([=](Device& device) {
    Module* module = find(device, handle);
    if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (const CUresult result = device.finishAll(); result != CUDA_SUCCESS) return result;
    for (const auto& [name, place] : module->globals) device.memory.release(place.first);
    device.modules.erase(module);
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuModuleGetFunction(CUfunction* function, CUmodule handle, const char* name) {
  return guarded([=](Device& device) {
    Module* module = find(device, handle);
    if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (device.refuses("cuModuleGetFunction")) return CUDA_ERROR_OUT_OF_MEMORY;
    std::unique_ptr<Kernel>& kernel = module->kernels[name];
    if (kernel == nullptr) {
      const auto& list = module->text->functions;
      const auto text = std::find_if(list.begin(), list.end(), [&](const ptx::Function& f) {
        return f.isKernel && f.isDefined && f.name == name;
      });
      if (text == list.end()) return CUDA_ERROR_NOT_FOUND;
      try {
        kernel = std::make_unique<Kernel>(Kernel{module, KernelDecoder(*module->text, module->symbols).decode(*text)});
      } catch (const ptx::SyntaxError& error) {
        device.report(std::string("kernel ") + name + ": " + error.what());
        return CUDA_ERROR_INVALID_PTX;
      }
      kernel->sites.resize(kernel->program.code.size());
    }
    *function = reinterpret_cast<CUfunction>(kernel.get());
    return CUDA_SUCCESS;
  });
}

CUDASIM_API CUresult cuModuleGetGlobal_v2(CUdeviceptr* address, size_t* bytes, CUmodule handle, const char* name) {
  return guarded([=](Device& device) {
    const Module* module = find(device, handle);
    if (module == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    const auto found = module->globals.find(name);
    if (found == module->globals.end()) return CUDA_ERROR_NOT_FOUND;
    if (address != nullptr) *address = found->second.first;
    if (bytes != nullptr) *bytes = found->second.second;
    return CUDA_SUCCESS;
  });
}
