#include "cuda/launch.h"

#include <cstring>
#include <sstream>
#include <vector>

#include "core/error.h"

namespace tinylora::cuda {
namespace {

/// The bytes of an argument as numbers. Structs hold pointers and ints only; addresses of devices have upper halves
/// that no pair of ints in use has.
void print(std::ostream& out, const Argument& argument) {
  const auto* bytes = static_cast<const unsigned char*>(argument.data);
  for (std::size_t i = 0; i < argument.bytes;) {
    if (i > 0) out << ' ';
    std::uint64_t wide = 0;
    if (i % 8 == 0 && i + 8 <= argument.bytes) std::memcpy(&wide, bytes + i, 8);
    if (wide >> 32 > 0xff && wide >> 48 == 0) {
      out << "0x" << std::hex << wide << std::dec;
      i += 8;
    } else if (i + 4 <= argument.bytes) {
      std::int32_t value = 0;
      std::memcpy(&value, bytes + i, 4);
      out << value;
      i += 4;
    } else {
      out << static_cast<int>(bytes[i++]);
    }
  }
}

std::string describe(const char* kernel, const Shape& shape, std::span<const Argument> arguments) {
  std::ostringstream text;
  text << "kernel " << kernel << ", grid " << shape.grid.x << " x " << shape.grid.y << " x " << shape.grid.z
       << ", block " << shape.block << ", " << shape.shared_bytes << " bytes shared, arguments (";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (i > 0) text << "; ";
    print(text, arguments[i]);
  }
  text << ')';
  return text.str();
}

}  // namespace

void launch_packed(Device& device, const char* file, const char* kernel, const Shape& shape,
                   std::span<const Argument> arguments) {
  if (shape.grid.x == 0 || shape.grid.y == 0 || shape.grid.z == 0) return;
  check(shape.grid.y <= kMostAside && shape.grid.z <= kMostAside, "ERR_ARGUMENT", "kernel ", kernel,
        ": expected at most ", kMostAside, " blocks along y and z, found a grid of ", shape.grid.x, " x ", shape.grid.y,
        " x ", shape.grid.z);
  device.bind();
  std::vector<void*> values;
  for (const Argument& argument : arguments) values.push_back(const_cast<void*>(argument.data));
  const auto& [function, starts_early, most_shared] = device.kernel(file, kernel, shape.shared_bytes);
  const bool early = starts_early && !device.holds_next();
  const LaunchAttribute attribute{kStartsEarly, 0, 1, {}};
  const LaunchConfig config{shape.grid.x,       shape.grid.y,    shape.grid.z, shape.block,    1, 1,
                            shape.shared_bytes, device.stream(), &attribute,   early ? 1U : 0U};
  const Result result = device.api().launch(&config, function, values.data(), nullptr);
  if (loses_context(result)) device.check(result, std::string("before kernel ") + kernel);
  if (result != 0) device.api().check(result, describe(kernel, shape, arguments));
  device.launched(kernel);
}

}  // namespace tinylora::cuda
