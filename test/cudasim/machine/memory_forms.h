// What all instructions with an address share.
#pragma once

#include <string>

#include "machine/form.h"
#include "machine/memory_access.h"

namespace cudasim {

/** Consumes the state space; "" for generic addresses. */
std::string readSpace(Form& form);
/** Appends the register of an address [base + offset]; the space its name tells, or else `space`. */
std::string useAddress(Form& form, const Operand& address, const std::string& space);
Space spaceNamed(const Form& form, const std::string& name);

/** The addresses of all lanes: register `slot` plus the instruction's offset. */
void laneAddresses(Warp& warp, const Instr& instr, Slot slot, uint64_t* address);

}  // namespace cudasim
