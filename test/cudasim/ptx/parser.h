#pragma once

#include <string_view>

#include "ptx/module.h"

namespace cudasim::ptx {

/** Throws SyntaxError. */
Module parse(std::string_view text);

}  // namespace cudasim::ptx
