// What the opcodes shared by integers and floats hand on.
#pragma once

#include "machine/form.h"

namespace cudasim {

enum class FloatOperation { Add, Subtract, Multiply, Minimum, Maximum, Absolute, Negate };

void floatBinary(Form& form, Type type, FloatOperation operation);
void floatUnary(Form& form, Type type, FloatOperation operation);
void floatFma(Form& form, Type type);
void floatDivide(Form& form, Type type);

/** The same for f16, bf16 and their pairs. */
void halfBinary(Form& form, Type type, FloatOperation operation);
void halfUnary(Form& form, Type type, FloatOperation operation);
void halfFma(Form& form, Type type);

/** Consumes rounding, .ftz and .sat, and makes the handler obey them. */
void finishFloat(Form& form, Type type, Handler handler);

}  // namespace cudasim
