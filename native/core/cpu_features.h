// What this CPU can run, and how large its caches are.
#pragma once
#include <cstdint>
#include <string>

namespace lowrank {

struct CpuFeatures {
  bool avx2 = false;    // AVX2 + FMA + F16C, and the operating system saves ymm registers
  bool avx512 = false;  // AVX-512 F, BW, DQ, VL, and the operating system saves zmm registers
  bool neon = false;
  int64_t l1_bytes = 32 << 10, l2_bytes = 512 << 10, l3_bytes = 8 << 20;
  std::string model;  // "AMD EPYC", for reports
};

/// Detected once, on first use.
const CpuFeatures& cpu_features();

}  // namespace lowrank
