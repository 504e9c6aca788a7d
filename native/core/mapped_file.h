// A file mapped into memory for reading, with checked views.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace tinylora {

/// Fails with ERR_FILE where the file cannot be opened or mapped. If another program truncates the file while it is
/// mapped, reading it ends the process (SIGBUS).
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }

  /// Fails with ERR_FILE where the bytes are not all inside the file; `what` names them in the message.
  std::span<const std::uint8_t> view(std::uint64_t offset, std::uint64_t length, const std::string& what) const;

  /// Tells the system that these bytes will not be read again soon, so that they stop counting as memory in use.
  void forget(std::span<const std::uint8_t> bytes) const;

 private:
  std::string path_;
  std::uint64_t size_ = 0;
  const std::uint8_t* data_ = nullptr;
};

}  // namespace tinylora
