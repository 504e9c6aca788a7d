#include "machine/shared_memory.h"

#include <immintrin.h>

#include <algorithm>
#include <cstring>

namespace cudasim {

bool allSet(const uint8_t* flags, size_t bytes) {
  const auto equal = [&]<class T>(T pattern) {
    T found;
    std::memcpy(&found, flags, sizeof found);
    return found == pattern;
  };
  switch (bytes) {
    case 1:
      return *flags == 1;
    case 2:
      return equal(uint16_t{0x0101});
    case 4:
      return equal(0x01010101u);
    case 8:
      return equal(uint64_t{0x0101010101010101});
    default:
      break;
  }
  __m128i all = _mm_set1_epi8(1);
  for (size_t i = 0; i < bytes; i += 16) {
    all = _mm_and_si128(all, _mm_loadu_si128(reinterpret_cast<const __m128i*>(flags + i)));
  }
  return _mm_movemask_epi8(_mm_cmpeq_epi8(all, _mm_set1_epi8(1))) == 0xFFFF;
}

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
  asyncReads_.clear();
  clocks_.fill(1);
  known_.fill({});
  knownByAll_.fill(0);
  agentClocks_.fill(kAgentClock);
}

/** Clocks start again; who was where is forgotten. */
void SharedMemory::forget() {
  for (std::vector<uint32_t>* list : {&writers_, &readers_, &otherReaders_}) {
    for (uint32_t& entry : *list) entry = clockOf(entry) == kPendingClock ? entry : 0;
  }
  asyncReads_.clear();
  clocks_.fill(1);
  known_.fill({});
  knownByAll_.fill(0);
  agentClocks_.fill(kAgentClock);
}

void SharedMemory::advance(uint32_t warp) {
  if (++clocks_[warp] == kAgentClock) {
    forget();
    clocks_[warp] = 2;
  }
  known_[warp].warps[warp] = clocks_[warp] - 1;
}

void SharedMemory::release(uint32_t warp, VectorClock& into) {
  advance(warp);
  const VectorClock& known = known_[warp];
  for (uint32_t other = 0; other < kMaxWarps; ++other) {
    into.warps[other] = std::max(into.warps[other], known.warps[other]);
    into.proxied[other] = std::max(into.proxied[other], known.proxied[other]);
  }
  for (uint32_t agent = 0; agent < kAgents; ++agent) {
    into.agents[agent] = std::max(into.agents[agent], known.agents[agent]);
  }
}

void SharedMemory::acquire(uint32_t warp, const VectorClock& from) {
  VectorClock& known = known_[warp];
  uint32_t lowest = kPendingClock;
  for (uint32_t other = 0; other < warps_; ++other) {
    known.warps[other] = std::max(known.warps[other], std::min(from.warps[other], clocks_[other] - 1));
    known.proxied[other] = std::max(known.proxied[other], std::min(from.proxied[other], clocks_[other] - 1));
    lowest = std::min(lowest, known.warps[other]);
  }
  for (uint32_t agent = 0; agent < kAgents; ++agent) {
    known.agents[agent] = std::max(known.agents[agent], std::min(from.agents[agent], agentClocks_[agent]));
  }
  knownByAll_[warp] = lowest;
}

void SharedMemory::race(const char* what, uint32_t entry, uint32_t word, uint32_t thread) const {
  const bool abroad = warps_ <= kAgentWarps && thread >= kFirstAgent;
  std::string text = std::string(what) + " shared address " + hex(kSharedBase + 4 * word) + " by thread " +
                     std::to_string(abroad ? thread - kFirstAgent : thread) + (abroad ? " of another block" : "");
  if (clockOf(entry) == kPendingClock) {
    text += " while an asynchronous copy of thread " + std::to_string(threadOf(entry)) + " to it is under way";
  } else if (isAgent(entry)) {
    text += " without a wait for the phase of the mbarrier at which a bulk copy to it arrived";
  } else {
    text += " with no barrier since thread " + std::to_string(threadOf(entry)) + " was there";
  }
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

void SharedMemory::readAbroad(uint32_t address, uint32_t bytes, uint32_t thread) const {
  const uint32_t first = (address - kSharedBase) / 4;
  for (uint32_t word = first; word < first + bytes / 4; ++word) {
    if (writers_[word] != 0 && !ordered(writers_[word], thread)) {
      race("race: read from another block of", writers_[word], word, thread);
    }
  }
}

void SharedMemory::write(uint32_t address, uint32_t bytes, uint32_t thread, AccessKind kind) {
  if (!asyncReads_.empty()) judgeAsyncReads(address, bytes, thread);
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

/** Judges eight entries at once for accesses of one warp. */
struct SharedMemory::Judge {
  Judge(const SharedMemory& shared, uint32_t warp)
      : known(reinterpret_cast<const int*>(shared.known_[warp].warps.data())),
        limit(_mm256_set1_epi32(static_cast<int>(shared.overForAll(warp)))) {}

  /** Lanes all ones: over for everybody, so that nothing later needs to know of it. */
  __m256i over(__m256i entries) const { return _mm256_cmpeq_epi32(_mm256_min_epu32(entries, limit), entries); }

  /** True when every entry comes before `made`: it is known to be over, or its thread is the same. */
  bool before(__m256i entries, __m256i made) const {
    __m256i good = over(entries);
    if (_mm256_movemask_epi8(good) == -1) return true;
    const __m256i pending = _mm256_set1_epi32(static_cast<int>(kPendingClock << kClockShift));
    const __m256i arrived = _mm256_xor_si256(_mm256_cmpeq_epi32(_mm256_max_epu32(entries, pending), entries), ones());
    good = _mm256_or_si256(good, _mm256_and_si256(arrived, alike(entries, made, 1023 << 4)));
    if (_mm256_movemask_epi8(good) == -1) return true;
    const __m256i who = _mm256_and_si256(_mm256_srli_epi32(entries, 9), _mm256_set1_epi32(31));
    const __m256i upTo = _mm256_i32gather_epi32(known, who, 4);
    const __m256i later = _mm256_cmpgt_epi32(_mm256_srli_epi32(entries, kClockShift), upTo);
    return _mm256_movemask_epi8(_mm256_or_si256(good, _mm256_xor_si256(later, ones()))) == -1;
  }

  /** What noteReader does; a reader that is over for everybody need not be kept. */
  __m256i otherReaders(__m256i others, __m256i last, __m256i made) const {
    return _mm256_blendv_epi8(last, others, _mm256_or_si256(over(last), alike(last, made, 31 << 9)));
  }

  static __m256i ones() { return _mm256_set1_epi32(-1); }
  static __m256i alike(__m256i a, __m256i b, int bits) {
    const __m256i differs = _mm256_and_si256(_mm256_xor_si256(a, b), _mm256_set1_epi32(bits));
    return _mm256_cmpeq_epi32(differs, _mm256_setzero_si256());
  }

  const int* known;
  __m256i limit;
};

namespace {

__m256i load(const uint32_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
void store(uint32_t* to, __m256i words) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words); }

__m256i loadPair(const uint32_t* low, const uint32_t* high) {
  return _mm256_loadu2_m128i(reinterpret_cast<const __m128i*>(high), reinterpret_cast<const __m128i*>(low));
}
__m128i loadFour(const uint32_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
void storeFour(uint32_t* to, __m128i words) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), words); }
void storePair(uint32_t* low, uint32_t* high, __m256i words) {
  _mm256_storeu2_m128i(reinterpret_cast<__m128i*>(high), reinterpret_cast<__m128i*>(low), words);
}

/** The entries of eight words of a row, where a lane has `Words` of them: `first` is that of lane 0. */
template <uint32_t Words>
__m256i rowEntries(uint32_t first) {
  const __m256i lane =
      _mm256_setr_epi32(0, 1 / Words, 2 / Words, 3 / Words, 4 / Words, 5 / Words, 6 / Words, 7 / Words);
  return _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)), _mm256_slli_epi32(lane, 4));
}

}  // namespace

template <uint32_t Words>
bool SharedMemory::readWords(uint32_t word, uint32_t warp) {
  const Judge judge(*this, warp);
  __m256i made = rowEntries<Words>(entry(32 * warp, AccessKind::Plain, 15));
  for (const uint32_t end = word + 32 * Words; word < end; word += 8) {
    if (!judge.before(load(&writers_[word]), made)) return false;
    store(&otherReaders_[word], judge.otherReaders(load(&otherReaders_[word]), load(&readers_[word]), made));
    store(&readers_[word], made);
    made = _mm256_add_epi32(made, _mm256_set1_epi32(8 / Words << 4));
  }
  return true;
}

template <uint32_t Words>
bool SharedMemory::writeWords(uint32_t word, uint32_t warp) {
  const Judge judge(*this, warp);
  __m256i made = rowEntries<Words>(entry(32 * warp, AccessKind::Plain, 15));
  for (const uint32_t end = word + 32 * Words; word < end; word += 8) {
    if (!judge.before(load(&writers_[word]), made) || !judge.before(load(&readers_[word]), made) ||
        !judge.before(load(&otherReaders_[word]), made)) {
      return false;
    }
    store(&writers_[word], made);
    made = _mm256_add_epi32(made, _mm256_set1_epi32(8 / Words << 4));
  }
  return true;
}

// Where eight words at once do not pass, the lanes are judged one by one: that names the race, or finds that there is
// none. What was noted before is noted again, which changes nothing.

void SharedMemory::readRow(uint32_t address, uint32_t bytes, uint32_t warp) {
  const uint32_t word = (address - kSharedBase) / 4;
  if (bytes == 4 ? readWords<1>(word, warp) : bytes == 8 ? readWords<2>(word, warp) : readWords<4>(word, warp)) return;
  for (uint32_t lane = 0; lane < 32; ++lane) read(address + bytes * lane, bytes, 32 * warp + lane, AccessKind::Plain);
}

void SharedMemory::writeRow(uint32_t address, uint32_t bytes, uint32_t warp) {
  if (!asyncReads_.empty()) judgeAsyncReads(address, 32 * bytes, 32 * warp);
  const uint32_t word = (address - kSharedBase) / 4;
  if (bytes == 4 ? writeWords<1>(word, warp) : bytes == 8 ? writeWords<2>(word, warp) : writeWords<4>(word, warp)) {
    return;
  }
  for (uint32_t lane = 0; lane < 32; ++lane) write(address + bytes * lane, bytes, 32 * warp + lane, AccessKind::Plain);
}

template <uint32_t Words>
void SharedMemory::readLanesOf(const uint32_t* address, uint32_t mask, uint32_t warp) {
  const uint32_t over = overForAll(warp), first = entry(32 * warp, AccessKind::Plain, 15);
  const uint32_t* writers = writers_.data();
  uint32_t *readers = readers_.data(), *others = otherReaders_.data();
  for (; mask != 0; mask &= mask - 1) {
    const auto lane = static_cast<uint32_t>(__builtin_ctz(mask));
    const uint32_t begin = (address[lane] - kSharedBase) / 4, made = first + (lane << 4);
    for (uint32_t word = begin; word < begin + Words; ++word) {
      const uint32_t writer = writers[word], last = readers[word];
      if (writer > over && races(writer, 32 * warp + lane)) race("race: read of", writer, word, 32 * warp + lane);
      if (last > over && ((last ^ made) & 31 << 9) != 0) others[word] = last;
      readers[word] = made;
    }
  }
}

void SharedMemory::readLanes(const uint32_t* address, uint32_t bytes, uint32_t mask, uint32_t warp) {
  if (bytes == 4) return readLanesOf<1>(address, mask, warp);
  if (bytes == 8) return readLanesOf<2>(address, mask, warp);
  return mask == ~0u ? readChunks(address, 32, warp) : readLanesOf<4>(address, mask, warp);
}

template <uint32_t Words>
void SharedMemory::writeLanesOf(const uint32_t* address, uint32_t mask, uint32_t warp) {
  const uint32_t over = overForAll(warp), first = entry(32 * warp, AccessKind::Plain, 15);
  uint32_t* writers = writers_.data();
  const uint32_t *readers = readers_.data(), *others = otherReaders_.data();
  for (; mask != 0; mask &= mask - 1) {
    const auto lane = static_cast<uint32_t>(__builtin_ctz(mask));
    const uint32_t thread = 32 * warp + lane, begin = (address[lane] - kSharedBase) / 4;
    if (!asyncReads_.empty()) judgeAsyncReads(address[lane], 4 * Words, thread);
    for (uint32_t word = begin; word < begin + Words; ++word) {
      for (const uint32_t before : {writers[word], readers[word], others[word]}) {
        if (before > over && races(before, thread)) race("race: write to", before, word, thread);
      }
      writers[word] = first + (lane << 4);
    }
  }
}

void SharedMemory::writeLanes(const uint32_t* address, uint32_t bytes, uint32_t mask, uint32_t warp) {
  if (bytes == 4) return writeLanesOf<1>(address, mask, warp);
  return bytes == 8 ? writeLanesOf<2>(address, mask, warp) : writeLanesOf<4>(address, mask, warp);
}

void SharedMemory::readAsOne(uint32_t address, uint32_t bytes, uint32_t warp) {
  const uint32_t first = (address - kSharedBase) / 4;
  bool simple = bytes >= 4;
  for (uint32_t word = first; simple && word < first + bytes / 4; ++word) {
    simple = clockOf(writers_[word]) <= known_[warp].warps[threadOf(writers_[word]) / 32];
  }
  // The last lane is the one that is remembered.
  for (uint32_t lane = simple ? 31 : 0; lane < 32; ++lane) read(address, bytes, 32 * warp + lane, AccessKind::Plain);
}

void SharedMemory::readChunks(const uint32_t* address, uint32_t count, uint32_t warp) {
  const Judge judge(*this, warp);
  const uint32_t first = entry(32 * warp, AccessKind::Plain, 15);
  __m256i made =
      _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(first)), _mm256_setr_epi32(0, 0, 0, 0, 16, 16, 16, 16));
  for (uint32_t lane = 0; lane < count; lane += 2) {
    const uint32_t low = (address[lane] - kSharedBase) / 4, high = (address[lane + 1] - kSharedBase) / 4;
    if (!judge.before(loadPair(&writers_[low], &writers_[high]), made)) {
      for (uint32_t i = lane; i < lane + 2; ++i) read(address[i], 16, 32 * warp + i, AccessKind::Plain);
    } else {
      const __m256i last = loadPair(&readers_[low], &readers_[high]);
      const __m256i others = loadPair(&otherReaders_[low], &otherReaders_[high]);
      storePair(&otherReaders_[low], &otherReaders_[high], judge.otherReaders(others, last, made));
      storePair(&readers_[low], &readers_[high], made);
    }
    made = _mm256_add_epi32(made, _mm256_set1_epi32(32));
  }
}

void SharedMemory::beginCopy(uint32_t address, uint32_t bytes, uint32_t thread) {
  if (!asyncReads_.empty()) judgeAsyncReads(address, bytes, thread);
  const uint32_t first = (address - kSharedBase) / 4;
  const uint32_t pending = kPendingClock << kClockShift | thread << 4 | 15;
  if (bytes == 16) {
    const Judge judge(*this, thread / 32);
    const __m256i made = _mm256_set1_epi32(static_cast<int>(entry(thread, AccessKind::Plain, 15)));
    const __m256i touched = loadPair(&writers_[first], &readers_[first]);
    const __m256i others = _mm256_zextsi128_si256(loadFour(&otherReaders_[first]));
    if (!judge.before(touched, made) || !judge.before(others, made)) write(address, 16, thread, AccessKind::Plain);
    storeFour(&writers_[first], _mm_set1_epi32(static_cast<int>(pending)));
    return;
  }
  write(address, bytes, thread, AccessKind::Plain);
  for (uint32_t word = first; word < first + (bytes + 3) / 4; ++word) writers_[word] = pending;
}

void SharedMemory::endCopy(uint32_t address, uint32_t bytes, uint32_t thread) {
  const uint32_t first = (address - kSharedBase) / 4;
  const uint32_t made = entry(thread, AccessKind::Plain, 15);
  if (bytes == 16) {
    storeFour(&writers_[first], _mm_set1_epi32(static_cast<int>(made)));
    std::memset(definedAt(address), 1, 16);
    return;
  }
  for (uint32_t word = first; word < first + (bytes + 3) / 4; ++word) writers_[word] = made;
  std::memset(definedAt(address), 1, bytes);
}

}  // namespace cudasim
