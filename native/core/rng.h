// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a random number is a pure function of key
// and counter, so a mask can be drawn again instead of being kept, and no thread order matters.
#pragma once
#include <array>
#include <cstdint>

namespace lowrank {

using Philox4 = std::array<uint32_t, 4>;

inline Philox4 philox(Philox4 counter, uint64_t key) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter[0], p1 = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return counter;
}

/// The upper 24 bits as a float in [0, 1).
inline float unit_float(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// The dropout rule, one for all backends: element e (counted over the unpadded tensor, row-major) of the tensor at `site` is kept when
/// word e % 4 of philox({e / 4, micro, step, site}, seed), as a unit float, is at least p.
inline bool dropout_keeps(uint32_t word, float p) { return unit_float(word) >= p; }

}  // namespace lowrank
