// Device memory: allocations with unmapped-looking gaps between them, and beside every byte whether it was written.
// One range of addresses is reserved once; the second half shadows the first.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace cudasim {

struct Allocation {
  uint64_t begin = 0, end = 0;
  std::string name;          // of a module's variable; empty for what the program allocated
  bool hostVisible = false;  // pinned host memory: the host may write it unseen, so it always counts as written
};

class GlobalMemory {
 public:
  /** Of a device that says that it has `bytes`. */
  explicit GlobalMemory(uint64_t bytes);
  ~GlobalMemory();
  GlobalMemory(const GlobalMemory&) = delete;
  GlobalMemory& operator=(const GlobalMemory&) = delete;

  /** 0 when the device is full. */
  uint64_t allocate(uint64_t bytes, const std::string& name = "");
  /** Takes in memory of the host at its own address. */
  void adopt(uint64_t begin, uint64_t bytes);
  /** False when nothing begins there. */
  bool release(uint64_t begin);
  /** What the program allocated and never freed. */
  void releaseUnnamed();

  /** The allocation that holds all of [address, address + bytes). */
  std::optional<Allocation> find(uint64_t address, uint64_t bytes) const;
  /** What is near an address that no allocation holds. */
  std::string explain(uint64_t address) const;

  bool isOwn(uint64_t address) const { return address >= base_ && address < base_ + kCapacity; }
  uint8_t* defined(uint64_t address) const { return reinterpret_cast<uint8_t*>(address + kCapacity); }
  void markDefined(uint64_t address, uint64_t bytes);
  /** The first byte of the range never written. */
  std::optional<uint64_t> firstUndefined(uint64_t address, uint64_t bytes) const;

  /** Held by one atomic operation at this address: blocks run on several threads. */
  std::mutex& atomics(uint64_t address) const { return atomics_[address / 16 % atomics_.size()]; }

  uint64_t total() const { return total_; }
  uint64_t used() const { return used_; }
  size_t liveAllocations() const;

 private:
  static constexpr uint64_t kCapacity = 1ull << 37;
  static constexpr uint64_t kAlign = 512, kGap = 4096;

  mutable std::mutex lock_;
  mutable std::array<std::mutex, 64> atomics_;
  uint64_t total_;
  uint64_t base_ = 0, next_ = 0, used_ = 0;
  std::map<uint64_t, Allocation> live_;   // by begin
  std::map<uint64_t, Allocation> freed_;  // never used again: an address tells what it once was
};

}  // namespace cudasim
