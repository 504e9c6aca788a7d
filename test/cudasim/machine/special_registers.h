#pragma once

#include <string>

#include "machine/warp.h"

namespace cudasim {

/** Not of PTX: the address of the kernel's parameters, 64 bits; "parameters+128" inside them. */
inline constexpr const char* kParameters = "parameters";

/** Bytes of the special register of that name (%tid.x, %laneid); 0 when the stand-in lacks it. */
uint32_t specialRegisterBytes(const std::string& name);
/** Fills in those that the program reads, at the start of a block. */
void setSpecialRegisters(Warp& warp);

}  // namespace cudasim
