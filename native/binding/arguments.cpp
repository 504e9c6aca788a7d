#include "binding/arguments.h"

#include <cmath>
#include <cstring>

#include "core/error.h"

namespace tinylora::binding {
namespace {

constexpr std::size_t kMaxShown = 60;  // bytes of a string in a message

const char* const kTypedArrays[] = {"an Int8Array",   "a Uint8Array",    "a Uint8ClampedArray", "an Int16Array",
                                    "a Uint16Array",  "an Int32Array",   "a Uint32Array",       "a Float32Array",
                                    "a Float64Array", "a BigInt64Array", "a BigUint64Array"};

/// The first bytes of a UTF-8 string, cut between two characters.
std::string shortened(const std::string& text) {
  if (text.size() <= kMaxShown) return text;
  std::size_t end = kMaxShown;
  while ((static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // a continuation byte
  return text.substr(0, end) + "...";
}

std::string shown(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_boolean:
      return value.As<Napi::Boolean>().Value() ? "true" : "false";
    case napi_number:
      return value.ToString().Utf8Value();
    case napi_string:
      return '"' + shortened(value.As<Napi::String>().Utf8Value()) + '"';
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_bigint:
      return "a BigInt";
    default:
      break;
  }
  if (value.IsArray()) return "an array";
  if (value.IsTypedArray()) {
    const auto kind = static_cast<std::size_t>(value.As<Napi::TypedArray>().TypedArrayType());
    return kind < std::size(kTypedArrays) ? kTypedArrays[kind] : "a typed array";
  }
  return "an object";
}

}  // namespace

void Argument::refuse(const std::string& expected) const {
  fail("ERR_ARGUMENT", "Expected ", expected, " for ", name_, " but received ", shown(value_));
}

Argument Argument::operator[](const char* key) const {
  if (!value_.IsObject()) refuse("an object");
  return {value_.As<Napi::Object>().Get(key), name_ + "." + key};
}

std::vector<Argument> Argument::list(std::size_t most) const {
  if (!value_.IsArray()) refuse("an array");
  const auto array = value_.As<Napi::Array>();
  const std::uint32_t length = array.Length();
  check(length <= most, "ERR_ARGUMENT", "Expected at most ", most, " elements for ", name_, " but received ", length);
  std::vector<Argument> elements;
  elements.reserve(length);
  for (std::uint32_t i = 0; i < length; ++i) elements.emplace_back(array.Get(i), name_ + "[" + std::to_string(i) + "]");
  return elements;
}

std::int64_t Argument::integer(std::int64_t least, std::int64_t most) const {
  const double value = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : std::nan("");
  const bool whole = std::isfinite(value) && std::trunc(value) == value;
  if (!whole || value < static_cast<double>(least) || value > static_cast<double>(most)) {
    refuse("a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return static_cast<std::int64_t>(value);
}

double Argument::number() const {
  const double value = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : std::nan("");
  if (std::isnan(value)) refuse("a number");
  return value;
}

bool Argument::boolean() const {
  if (!value_.IsBoolean()) refuse("true or false");
  return value_.As<Napi::Boolean>().Value();
}

std::string Argument::text() const {
  if (!value_.IsString()) refuse("a string");
  return value_.As<Napi::String>().Utf8Value();
}

Napi::Function Argument::function() const {
  if (!value_.IsFunction()) refuse("a function");
  return value_.As<Napi::Function>();
}

template <typename T>
std::vector<T> Argument::typed(napi_typedarray_type type, const char* kind) const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != type) refuse(kind);
  const auto array = value_.As<Napi::TypedArrayOf<T>>();
  std::vector<T> values(array.ElementLength());
  if (!values.empty()) std::memcpy(values.data(), array.Data(), values.size() * sizeof(T));
  return values;
}

std::vector<std::uint8_t> Argument::bytes() const { return typed<std::uint8_t>(napi_uint8_array, "a Uint8Array"); }
std::vector<std::int32_t> Argument::int32s() const { return typed<std::int32_t>(napi_int32_array, "an Int32Array"); }
std::vector<std::uint32_t> Argument::uint32s() const {
  return typed<std::uint32_t>(napi_uint32_array, "a Uint32Array");
}
std::vector<float> Argument::floats() const { return typed<float>(napi_float32_array, "a Float32Array"); }

}  // namespace tinylora::binding
