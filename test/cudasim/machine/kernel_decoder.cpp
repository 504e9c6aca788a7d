#include "machine/kernel_decoder.h"

#include <algorithm>
#include <cstring>

#include "machine/block.h"
#include "machine/register_allocation.h"
#include "machine/special_registers.h"
#include "ptx/scanner.h"

namespace cudasim {
namespace {

std::string scoped(int scope, const std::string& name) { return std::to_string(scope) + ":" + name; }

constexpr uint64_t kLeastDynamic = 16;  // alignment of dynamic shared memory

uint32_t roundUp(uint32_t value, uint64_t align) { return static_cast<uint32_t>((value + align - 1) / align * align); }

/** A register as wide as the type: values of 8 bits live in 16. */
Type registerType(Type type) {
  if (type == Type::pred) return type;
  return ptx::bitsOf(std::max(ptx::sizeOf(type), 2u));
}

}  // namespace

KernelDecoder::KernelDecoder(const ptx::Module& module, const Symbols& symbols) : module_(module), symbols_(symbols) {}

Program KernelDecoder::decode(const ptx::Function& kernel) {
  program_.kernel = kernel.name;
  program_.files = module_.files;
  program_.maxThreads = kernel.maxThreads != 0 ? kernel.maxThreads : 1024;
  std::copy_n(kernel.cluster, 3, program_.cluster.begin());
  parameterBase_ = add({Type::b64, true, 0, kParameters});
  layOutParameters(kernel);
  for (const ptx::Variable& variable :
       module_.variables) {  // module scope shared memory: only what lies there is known
    if (variable.space == "shared" && !variable.isExtern) {
      const Symbol& symbol = symbols_.at(variable.name);
      program_.staticShared =
          std::max(program_.staticShared, static_cast<uint32_t>(symbol.address + variable.size) - kSharedBase);
    }
  }
  frames_.push_back({&kernel, -1, {}, {}, {}});
  declareVariables(frames_[0]);
  uint64_t dynamicAlign = 0;  // dynamic shared memory follows the static
  for (const ptx::Variable& variable : module_.variables) {
    if (variable.space == "shared" && variable.isExtern)
      dynamicAlign = std::max({dynamicAlign, variable.align, kLeastDynamic});
  }
  if (dynamicAlign != 0) program_.staticShared = sharedPlace(program_.staticShared, dynamicAlign);
  decodeBody(0);
  resolve();
  place();
  return std::move(program_);
}

std::set<std::string> KernelDecoder::missing(const ptx::Function& function) {
  std::set<std::string> lines;
  frames_.push_back({&function, -1, {}, {}, {}});
  parameterBase_ = add({Type::b64, true, 0, kParameters});
  if (function.isKernel) layOutParameters(function);
  for (const auto* list : {&function.parameters, &function.results}) {  // of a device function: a place each
    for (const ptx::Variable& variable : *list) {
      if (!function.isKernel) frames_[0].variables[scoped(0, variable.name)] = {"local", 0};
    }
  }
  declareVariables(frames_[0]);
  for (const ptx::Instruction& in : function.body) {
    try {
      decodeOne(in, 0);
    } catch (const ptx::SyntaxError& error) {
      lines.insert(error.what());
    }
  }
  return lines;
}

void KernelDecoder::layOutParameters(const ptx::Function& kernel) {
  for (const ptx::Variable& parameter : kernel.parameters) {
    const uint32_t offset = roundUp(program_.parameterBytes, parameter.align);
    program_.parameters.push_back({parameter.name, offset, static_cast<uint32_t>(parameter.size)});
    program_.parameterBytes = offset + static_cast<uint32_t>(parameter.size);
  }
}

void KernelDecoder::declareVariables(Frame& frame) {
  for (size_t scope = 0; scope < frame.function->scopes.size(); ++scope) {
    for (const ptx::Variable& variable : frame.function->scopes[scope].variables) {
      Symbol& symbol = frame.variables[scoped(static_cast<int>(scope), variable.name)];
      symbol.space = variable.space == "param" ? "local" : variable.space;
      uint32_t& used = symbol.space == "shared" ? program_.staticShared : program_.localBytes;
      const uint64_t align = std::max<uint64_t>(variable.align, 4);
      const uint32_t at = symbol.space == "shared" ? sharedPlace(used, align) : roundUp(used, align);
      symbol.address = at + (symbol.space == "shared" ? kSharedBase : 0);
      used = at + roundUp(static_cast<uint32_t>(variable.size), 4);
    }
  }
}

Symbol* KernelDecoder::findVariable(int frame, int scope, const std::string& name) {
  Frame& where = frames_[static_cast<size_t>(frame)];
  for (; scope >= 0; scope = where.function->scopes[static_cast<size_t>(scope)].parent) {
    const auto found = where.variables.find(scoped(scope, name));
    if (found != where.variables.end()) return &found->second;
  }
  return nullptr;
}

void KernelDecoder::decodeBody(int frame) {
  const ptx::Function& function = *frames_[static_cast<size_t>(frame)].function;
  std::unordered_map<size_t, std::vector<std::string>> labels;  // by the instruction they stand before
  for (size_t scope = 0; scope < function.scopes.size(); ++scope) {
    for (const ptx::Label& label : function.scopes[scope].labels) {
      labels[label.at].push_back(scoped(static_cast<int>(scope), label.name));
    }
  }
  for (size_t i = 0; i <= function.body.size(); ++i) {
    for (const std::string& label : labels[i]) {
      frames_[static_cast<size_t>(frame)].labels[label] = static_cast<uint32_t>(drafts_.size());
    }
    if (i < function.body.size()) decodeOne(function.body[i], frame);
  }
}

void KernelDecoder::decodeOne(const ptx::Instruction& in, int frame) {
  const auto found = formTable().find(in.parts[0]);
  Form form(*this, in, frame);
  if (found == formTable().end()) form.unknown();
  found->second(form);
  if (form.instr.run == nullptr) return;  // a call: its body is there
  Draft draft;
  if (!in.guard.empty()) {
    draft.guard = named(form, in.guard);
    form.instr.guardNegated = in.guardNegated;
  }
  const auto [entry, isNew] = formIndex_.try_emplace(in.form, static_cast<uint16_t>(program_.forms.size()));
  if (isNew) program_.forms.push_back(in.form);
  form.instr.form = entry->second;
  form.instr.pc = static_cast<uint32_t>(drafts_.size());
  draft.instr = form.instr;
  draft.references = std::move(form.references);
  draft.flow = form.flow;
  draft.copies = form.copies;
  draft.products = form.products;
  drafts_.push_back(std::move(draft));
  program_.positions.push_back({in.line, in.source});
}

RegisterId KernelDecoder::add(VirtualRegister made) {
  registers_.push_back(std::move(made));
  return static_cast<RegisterId>(registers_.size() - 1);
}

RegisterId KernelDecoder::constant(uint64_t bits, Type type) {
  const Type wide = registerType(type);
  const auto [entry, isNew] = constants_.try_emplace({bits, wide}, 0);
  if (isNew) entry->second = add({wide, true, bits, ""});
  return entry->second;
}

RegisterId KernelDecoder::scratch(Type type) {
  const Type wide = registerType(type);
  const auto [entry, isNew] = scratch_.try_emplace(wide, 0);
  if (isNew) entry->second = add({wide, false, 0, ""});
  return entry->second;
}

RegisterId KernelDecoder::carry() {
  if (carry_ == kNoSlot) carry_ = add({Type::pred, false, 0, ""});
  return carry_;
}

const ptx::RegisterDeclaration* KernelDecoder::findRegister(const ptx::Function& function, int scope,
                                                            const std::string& name, int& owner) const {
  const size_t digits = name.find_last_not_of("0123456789") + 1;
  const std::string family = name.substr(0, digits);
  for (; scope >= 0; scope = function.scopes[static_cast<size_t>(scope)].parent) {
    for (const ptx::RegisterDeclaration& declared : function.scopes[static_cast<size_t>(scope)].registers) {
      if (declared.family ? digits < name.size() && declared.name == family : declared.name == name) {
        owner = scope;
        return &declared;
      }
    }
  }
  return nullptr;
}

RegisterId KernelDecoder::named(const Form& form, const std::string& name) {
  Frame& frame = frames_[static_cast<size_t>(form.frame)];
  int owner = 0;
  if (const ptx::RegisterDeclaration* declared = findRegister(*frame.function, form.in.scope, name, owner)) {
    const auto [entry, isNew] = frame.registers.try_emplace(scoped(owner, name), 0);
    if (isNew) {
      const auto type = ptx::typeNamed(declared->type);
      if (!type) form.unknown("register type ." + declared->type);
      entry->second = add({registerType(*type), false, 0, ""});
    }
    return entry->second;
  }
  if (specialRegisterBytes(name) != 0) {
    const auto [entry, isNew] = specials_.try_emplace(name, 0);
    if (isNew) entry->second = add({Type::b32, true, 0, name});
    return entry->second;
  }
  form.unknown("unknown name " + name);
}

RegisterId KernelDecoder::registerFor(const Form& form, const Operand& operand, Type type, bool written) {
  switch (operand.kind) {
    case Operand::Kind::Integer:
    case Operand::Kind::Float32:
    case Operand::Kind::Float64: {
      if (written) form.unknown("a constant is written");
      uint64_t bits = operand.bits;
      if (operand.kind == Operand::Kind::Float64 && type == Type::f32) {
        double wide;
        std::memcpy(&wide, &bits, sizeof wide);
        const auto narrow = static_cast<float>(wide);
        bits = 0;
        std::memcpy(&bits, &narrow, sizeof narrow);
      }
      return constant(type == Type::pred ? (bits != 0 ? kAllLanes : 0) : bits, type);
    }
    case Operand::Kind::Name:
      break;
    default:
      form.unknown("unexpected kind of operand");
  }
  if (operand.name == "_") return scratch(type);
  if (operand.name == "WARP_SZ") return constant(kLanes, type);
  int owner = 0;
  const ptx::Function& function = *frames_[static_cast<size_t>(form.frame)].function;
  if (findRegister(function, form.in.scope, operand.name, owner) == nullptr &&
      specialRegisterBytes(operand.name) == 0) {
    Operand address = operand;  // the address of a variable
    const Base found = base(form, address, ptx::sizeOf(type) == 4);
    if (found.id == parameterBase_) {
      if (found.offset == 0) return found.id;
      const std::string place = std::string(kParameters) + "+" + std::to_string(found.offset);
      const auto [entry, isNew] = specials_.try_emplace(place, 0);
      if (isNew) entry->second = add({Type::b64, true, 0, place});
      return entry->second;
    }
    const VirtualRegister& symbol = registers_[found.id];
    return constant(symbol.bits + static_cast<uint64_t>(found.offset), type);
  }
  const RegisterId id = named(form, operand.name);
  const Type have = registers_[id].type, want = registerType(type);
  if ((have == Type::pred) != (want == Type::pred)) form.unknown("operand " + operand.name + " of another kind");
  if (ptx::sizeOf(have) != ptx::sizeOf(want)) form.unknown("operand " + operand.name + " of another width");
  return id;
}

uint32_t KernelDecoder::widthOf(const Form& form, const Operand& operand, Type type) {
  if (operand.kind != Operand::Kind::Name || operand.name == "_") return ptx::sizeOf(registerType(type));
  int owner = 0;
  const ptx::Function& function = *frames_[static_cast<size_t>(form.frame)].function;
  if (findRegister(function, form.in.scope, operand.name, owner) == nullptr &&
      specialRegisterBytes(operand.name) == 0) {
    return ptx::sizeOf(type);
  }
  return ptx::sizeOf(registers_[named(form, operand.name)].type);
}

KernelDecoder::Base KernelDecoder::base(const Form& form, const Operand& address, bool narrow) {
  const Type type = narrow ? Type::b32 : Type::b64;
  if (address.name.empty()) return {constant(0, type), "", address.offset};
  int owner = 0;
  const Frame& frame = frames_[static_cast<size_t>(form.frame)];
  if (findRegister(*frame.function, form.in.scope, address.name, owner) != nullptr) {
    return {named(form, address.name), "", address.offset};
  }
  if (const Symbol* local = findVariable(form.frame, form.in.scope, address.name)) {
    return {constant(local->address, type), local->space, address.offset};
  }
  if (frame.parent < 0) {
    for (const Parameter& parameter : program_.parameters) {
      if (parameter.name == address.name) return {parameterBase_, "param", address.offset + parameter.offset};
    }
  }
  const auto symbol = symbols_.find(address.name);
  if (symbol != symbols_.end()) {
    uint64_t at = symbol->second.address;
    if (symbol->second.space == "dynamic") at = kSharedBase + program_.staticShared;
    return {constant(at, type), symbol->second.space == "dynamic" ? "shared" : symbol->second.space, address.offset};
  }
  form.unknown("unknown name " + address.name);
}

void KernelDecoder::branchTo(const Form& form, const std::string& label) {
  fixups_.push_back({drafts_.size(), form.frame, form.in.scope, label, form.in.line, -1, 0});
}

uint32_t KernelDecoder::branchTable(const Form& form, const std::string& name) {
  const ptx::Function& function = *frames_[static_cast<size_t>(form.frame)].function;
  for (const ptx::Scope& scope : function.scopes) {
    for (const ptx::BranchTargets& targets : scope.branchTargets) {
      if (targets.name != name) continue;
      const auto table = static_cast<int>(program_.branchTables.size());
      program_.branchTables.emplace_back(targets.labels.size());
      for (size_t i = 0; i < targets.labels.size(); ++i) {
        fixups_.push_back({drafts_.size(), form.frame, form.in.scope, targets.labels[i], form.in.line, table, i});
      }
      return static_cast<uint32_t>(table);
    }
  }
  form.unknown("unknown branch targets " + name);
}

void KernelDecoder::branchToEnd(int frame) { ends_.emplace_back(drafts_.size(), frame); }

void KernelDecoder::call(const Form& form) {
  size_t at = 0;
  std::vector<Operand> results, arguments;
  if (form.operand(0).kind == Operand::Kind::Arguments) results = form.operand(at++).items;
  const std::string& name = form.operand(at++).name;
  if (at < form.operandCount()) arguments = form.operand(at).items;
  if (!form.in.guard.empty()) form.unknown("a call behind a predicate");
  const ptx::Function* callee = nullptr;
  for (const ptx::Function& function : module_.functions) {
    if (function.name == name && function.isDefined) callee = &function;
  }
  if (callee == nullptr) form.unknown("no function " + name + " in this module");
  for (int up = form.frame; up >= 0; up = frames_[static_cast<size_t>(up)].parent) {
    if (frames_[static_cast<size_t>(up)].function == callee) form.unknown("recursion of " + name);
  }
  const auto inner = static_cast<int>(frames_.size());
  frames_.push_back({callee, form.frame, {}, {}, {}});
  Frame& frame = frames_.back();
  const auto bind = [&](const std::vector<ptx::Variable>& formal, const std::vector<Operand>& actual) {
    if (formal.size() != actual.size()) form.unknown("wrong number of arguments for " + name);
    for (size_t i = 0; i < formal.size(); ++i) {
      const Symbol* variable = findVariable(form.frame, form.in.scope, actual[i].name);
      if (variable == nullptr) form.unknown("argument " + actual[i].name + " is no parameter");
      frame.variables[scoped(0, formal[i].name)] = *variable;
    }
  };
  bind(callee->results, results);
  bind(callee->parameters, arguments);
  declareVariables(frame);
  decodeBody(inner);
  for (const auto& [draft, of] : ends_) {
    if (of == inner) drafts_[draft].instr.target = static_cast<uint32_t>(drafts_.size());
  }
}

void KernelDecoder::resolve() {
  for (const Fixup& fixup : fixups_) {
    const Frame& frame = frames_[static_cast<size_t>(fixup.frame)];
    int scope = fixup.scope;
    const auto lookUp = [&] { return frame.labels.find(scoped(scope, fixup.label)); };
    while (lookUp() == frame.labels.end() && scope >= 0) {
      scope = frame.function->scopes[static_cast<size_t>(scope)].parent;
    }
    if (lookUp() == frame.labels.end()) throw ptx::SyntaxError(fixup.line, "unknown label " + fixup.label);
    if (fixup.table < 0) {
      drafts_[fixup.draft].instr.target = lookUp()->second;
    } else {
      program_.branchTables[static_cast<size_t>(fixup.table)][fixup.slot] = lookUp()->second;
    }
  }
}

void KernelDecoder::place() {
  RegisterAllocation allocation(registers_, drafts_, program_.branchTables);
  allocation.apply(program_);
  program_.parameterBase = allocation.slot(parameterBase_);
}

}  // namespace cudasim
