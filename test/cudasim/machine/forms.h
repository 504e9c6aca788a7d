// One function a family of opcodes, each in the file of its name.
#pragma once

#include "machine/form.h"

namespace cudasim {

void addIntegerForms(FormTable& table);
void addCarryForms(FormTable& table);
void addFloatForms(FormTable& table);
void addHalfForms(FormTable& table);
void addConversionForms(FormTable& table);
void addMoveForms(FormTable& table);
void addCompareForms(FormTable& table);
void addBitForms(FormTable& table);
void addControlForms(FormTable& table);
void addWarpForms(FormTable& table);
void addMemoryForms(FormTable& table);
void addAtomicForms(FormTable& table);
void addMatrixForms(FormTable& table);
void addCopyForms(FormTable& table);
void addMbarrierForms(FormTable& table);
void addProductForms(FormTable& table);

/** cp.async.bulk */
void bulkCopyForm(Form& form);

/** add.cc, sub.cc, mad.cc: false, and nothing done, when the instruction has no carry. */
bool carryForm(Form& form, Type type);

}  // namespace cudasim
