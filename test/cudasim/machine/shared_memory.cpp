#include "machine/shared_memory.h"

#include <algorithm>

namespace cudasim {

SharedMemory::SharedMemory(uint32_t bytes)
    : size_(bytes),
      bytes_(bytes + 16),
      defined_(bytes + 16),
      writers_(bytes / 4 + 4),
      readers_(bytes / 4 + 4),
      otherReaders_(bytes / 4 + 4) {}

void SharedMemory::reset(uint32_t warps) {
  warps_ = warps;
  std::fill(bytes_.begin(), bytes_.end(), uint8_t{0xCC});
  std::fill(defined_.begin(), defined_.end(), uint8_t{0});
  std::fill(writers_.begin(), writers_.end(), 0);
  std::fill(readers_.begin(), readers_.end(), 0);
  std::fill(otherReaders_.begin(), otherReaders_.end(), 0);
  clocks_.fill(1);
  for (VectorClock& known : known_) known.fill(0);
  knownByAll_.fill(0);
}

void SharedMemory::advance(uint32_t warp) {
  if (++clocks_[warp] == kPendingClock) {  // clocks start again; who was where is forgotten
    for (std::vector<uint32_t>* list : {&writers_, &readers_, &otherReaders_}) {
      for (uint32_t& entry : *list) entry = clockOf(entry) == kPendingClock ? entry : 0;
    }
    clocks_.fill(1);
    for (VectorClock& known : known_) known.fill(0);
    knownByAll_.fill(0);
    clocks_[warp] = 2;
  }
  known_[warp][warp] = clocks_[warp] - 1;
}

void SharedMemory::release(uint32_t warp, VectorClock& into) {
  advance(warp);
  for (uint32_t other = 0; other < kMaxWarps; ++other) into[other] = std::max(into[other], known_[warp][other]);
}

void SharedMemory::acquire(uint32_t warp, const VectorClock& from) {
  VectorClock& known = known_[warp];
  uint32_t lowest = kPendingClock;
  for (uint32_t other = 0; other < warps_; ++other) {
    known[other] = std::max(known[other], std::min(from[other], clocks_[other] - 1));
    lowest = std::min(lowest, known[other]);
  }
  knownByAll_[warp] = lowest;
}

void SharedMemory::race(const char* what, uint32_t entry, uint32_t word, uint32_t thread) const {
  const bool pending = clockOf(entry) == kPendingClock;
  std::string text =
      std::string(what) + " shared address " + hex(kSharedBase + 4 * word) + " by thread " + std::to_string(thread);
  text += pending ? " while an asynchronous copy of thread " + std::to_string(threadOf(entry)) + " to it is under way"
                  : " with no barrier since thread " + std::to_string(threadOf(entry)) + " was there";
  throw Fault{FaultKind::Race, text, static_cast<int>(thread % 32)};
}

void SharedMemory::noteReader(uint32_t word, uint32_t made) {
  uint32_t& last = readers_[word];
  if (threadOf(last) / 32 != threadOf(made) / 32 || last == 0) otherReaders_[word] = last;
  last = made;
}

void SharedMemory::read(uint32_t address, uint32_t bytes, uint32_t thread, AccessKind kind) {
  const uint32_t offset = address - kSharedBase;
  for (uint32_t word = offset / 4; word <= (offset + bytes - 1) / 4; ++word) {
    const uint32_t byteMask = bytes >= 4 ? 15u : ((1u << bytes) - 1) << (offset & 3);
    const uint32_t writer = writers_[word];
    const bool pending = clockOf(writer) == kPendingClock;
    const bool bothStrong = kind == AccessKind::Strong && isStrong(writer);
    if ((writer & byteMask) != 0 && (pending || (!bothStrong && !ordered(writer, thread)))) {
      race("race: read of", writer, word, thread);
    }
    noteReader(word, entry(thread, kind, byteMask));
  }
}

void SharedMemory::write(uint32_t address, uint32_t bytes, uint32_t thread, AccessKind kind) {
  const uint32_t offset = address - kSharedBase;
  for (uint32_t word = offset / 4; word <= (offset + bytes - 1) / 4; ++word) {
    const uint32_t byteMask = bytes >= 4 ? 15u : ((1u << bytes) - 1) << (offset & 3);
    for (const uint32_t before : {writers_[word], readers_[word], otherReaders_[word]}) {
      const bool pending = clockOf(before) == kPendingClock;
      const bool bothStrong = kind == AccessKind::Strong && isStrong(before);
      if ((before & byteMask) != 0 && (pending || (!bothStrong && !ordered(before, thread)))) {
        race("race: write to", before, word, thread);
      }
    }
    writers_[word] = entry(thread, kind, byteMask);
  }
}

void SharedMemory::readRow(uint32_t address, uint32_t warp) {
  const uint32_t word = (address - kSharedBase) / 4;
  const uint32_t* writers = writers_.data() + word;
  const uint32_t* readers = readers_.data() + word;
  const uint32_t limit = (knownByAll_[warp] + 1) << kClockShift;
  bool simple = true;
  for (uint32_t lane = 0; lane < 32; ++lane) simple &= writers[lane] < limit;
  for (uint32_t lane = 0; lane < 32; ++lane) simple &= readers[lane] < limit;
  if (!simple) {
    for (uint32_t lane = 0; lane < 32; ++lane) read(address + 4 * lane, 4, 32 * warp + lane, AccessKind::Plain);
    return;
  }
  const uint32_t first = entry(32 * warp, AccessKind::Plain, 15);
  for (uint32_t lane = 0; lane < 32; ++lane) readers_[word + lane] = first + (lane << 4);
}

void SharedMemory::writeRow(uint32_t address, uint32_t warp) {
  const uint32_t word = (address - kSharedBase) / 4;
  const uint32_t limit = (knownByAll_[warp] + 1) << kClockShift;
  const uint32_t *writers = writers_.data() + word, *readers = readers_.data() + word;
  const uint32_t* others = otherReaders_.data() + word;
  bool simple = true;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    simple &= (writers[lane] < limit) & (readers[lane] < limit) & (others[lane] < limit);
  }
  if (!simple) {
    for (uint32_t lane = 0; lane < 32; ++lane) write(address + 4 * lane, 4, 32 * warp + lane, AccessKind::Plain);
    return;
  }
  const uint32_t first = entry(32 * warp, AccessKind::Plain, 15);
  for (uint32_t lane = 0; lane < 32; ++lane) writers_[word + lane] = first + (lane << 4);
}

void SharedMemory::beginCopy(uint32_t address, uint32_t bytes, uint32_t thread) {
  write(address, bytes, thread, AccessKind::Plain);
  const uint32_t first = (address - kSharedBase) / 4;
  for (uint32_t word = first; word < first + (bytes + 3) / 4; ++word) {
    writers_[word] = kPendingClock << kClockShift | thread << 4 | 15;
  }
}

void SharedMemory::endCopy(uint32_t address, uint32_t bytes, uint32_t thread) {
  const uint32_t first = (address - kSharedBase) / 4;
  for (uint32_t word = first; word < first + (bytes + 3) / 4; ++word) {
    writers_[word] = entry(thread, AccessKind::Plain, 15);
  }
  std::fill_n(definedAt(address), bytes, uint8_t{1});
}

}  // namespace cudasim
