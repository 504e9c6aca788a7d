#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace tinylora {
namespace {

/// Closes the descriptor at the end of MappedFile's constructor, also when that throws; the mapping stays.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a pipe would otherwise wait until somebody writes to it.
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  check(file.number >= 0, "ERR_FILE", path, ": cannot open: ", std::strerror(errno));
  struct stat status {};
  check(fstat(file.number, &status) == 0, "ERR_FILE", path, ": cannot get its size: ", std::strerror(errno));
  check(S_ISREG(status.st_mode), "ERR_FILE", path, ": expected a regular file");
  size_ = static_cast<std::uint64_t>(status.st_size);
  if (size_ == 0) return;  // an empty mapping is not allowed; every view but the empty one fails
  void* data = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number, 0);
  check(data != MAP_FAILED, "ERR_FILE", path, ": cannot map ", size_, " bytes: ", std::strerror(errno));
  data_ = static_cast<const std::uint8_t*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::uint8_t*>(data_), size_);
}

std::span<const std::uint8_t> MappedFile::view(std::uint64_t offset, std::uint64_t length,
                                               const std::string& what) const {
  check(offset <= size_ && length <= size_ - offset, "ERR_FILE", path_, ": ", what, ": expected ", length,
        " bytes at offset ", offset, ", the file ends at ", size_);
  return {data_ + offset, length};
}

void MappedFile::forget(std::span<const std::uint8_t> bytes) const {
  // Whole pages inside the range only: the edges may belong to a neighbour that is still to be read.
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  const auto offset = static_cast<std::uint64_t>(bytes.data() - data_);
  const std::uint64_t first = (offset + page - 1) / page * page;
  const std::uint64_t last = (offset + bytes.size()) / page * page;
  if (first < last) madvise(const_cast<std::uint8_t*>(data_) + first, last - first, MADV_DONTNEED);
}

}  // namespace tinylora
