#include "core/cpu_features.h"

#include <cstring>
#include <fstream>

#if defined(__x86_64__) || defined(_M_X64)
#define LOWRANK_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace lowrank {

namespace {

#if defined(LOWRANK_X86)

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r;
#if defined(_MSC_VER)
  int values[4];
  __cpuidex(values, static_cast<int>(leaf), static_cast<int>(subleaf));
  std::memcpy(&r, values, sizeof r);
#else
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#endif
  return r;
}

/// Which registers the operating system saves (XCR0).
uint64_t saved_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
#endif
}

constexpr bool bit(uint32_t word, int i) { return word >> i & 1; }

void detect_instructions(CpuFeatures& cpu) {
  const uint32_t leaves = cpuid(0).eax;
  if (leaves < 7) return;
  const Registers one = cpuid(1), seven = cpuid(7);
  const bool fma = bit(one.ecx, 12), xsave = bit(one.ecx, 27), avx = bit(one.ecx, 28), f16c = bit(one.ecx, 29);
  if (!xsave || !avx) return;
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6;
  const uint64_t saved = saved_state();
  cpu.avx2 = (saved & kYmm) == kYmm && fma && f16c && bit(seven.ebx, 5);
  const bool f = bit(seven.ebx, 16), dq = bit(seven.ebx, 17), bw = bit(seven.ebx, 30), vl = bit(seven.ebx, 31);
  cpu.avx512 = cpu.avx2 && (saved & kZmm) == kZmm && f && dq && bw && vl;
}

/// The deterministic cache list: leaf 4 on Intel, 0x8000001D with the same layout on AMD.
void detect_caches(CpuFeatures& cpu) {
  const Registers vendor = cpuid(0);
  const bool amd = vendor.ebx == 0x68747541u || vendor.ebx == 0x6f677948u;  // "Auth"enticAMD, "Hygo"nGenuine
  const uint32_t leaf = amd ? 0x8000001Du : 4u, highest = amd ? cpuid(0x80000000u).eax : vendor.eax;
  if (highest < leaf) return;
  for (uint32_t i = 0; i < 16; ++i) {
    const Registers r = cpuid(leaf, i);
    const uint32_t type = r.eax & 31u, level = r.eax >> 5 & 7u;
    if (type == 0) return;
    if (type == 2) continue;  // instructions
    const int64_t bytes =
        ((r.ebx >> 22) + int64_t{1}) * ((r.ebx >> 12 & 0x3ffu) + int64_t{1}) * ((r.ebx & 0xfffu) + int64_t{1}) * (r.ecx + int64_t{1});
    if (level == 1) cpu.l1_bytes = bytes;
    if (level == 2) cpu.l2_bytes = bytes;
    if (level == 3) cpu.l3_bytes = bytes;
  }
}

void detect_model(CpuFeatures& cpu) {
  if (cpuid(0x80000000u).eax < 0x80000004u) return;
  char text[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002u + i);
    std::memcpy(text + 16 * i, &r, 16);
  }
  cpu.model = text;
}

void detect(CpuFeatures& cpu) {
  detect_instructions(cpu);
  detect_caches(cpu);
  detect_model(cpu);
}

#elif defined(__APPLE__)

void read_size(const char* name, int64_t& bytes) {
  int64_t value = 0;
  size_t size = sizeof value;
  if (sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value > 0) bytes = value;
}

void detect(CpuFeatures& cpu) {
  read_size("hw.l1dcachesize", cpu.l1_bytes);
  read_size("hw.l2cachesize", cpu.l2_bytes);
  read_size("hw.l3cachesize", cpu.l3_bytes);
  char text[128] = {};
  size_t size = sizeof text - 1;
  if (sysctlbyname("machdep.cpu.brand_string", text, &size, nullptr, 0) == 0) cpu.model = text;
}

#else

/// Linux's description of cache i of the first processor: level, type and a size such as "512K".
void read_cache(int i, CpuFeatures& cpu) {
  const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
  int level = 0;
  int64_t kilobytes = 0;
  std::string type;
  std::ifstream(folder + "level") >> level;
  std::ifstream(folder + "type") >> type;
  std::ifstream(folder + "size") >> kilobytes;
  if (kilobytes <= 0 || type == "Instruction") return;
  if (level == 1) cpu.l1_bytes = kilobytes << 10;
  if (level == 2) cpu.l2_bytes = kilobytes << 10;
  if (level == 3) cpu.l3_bytes = kilobytes << 10;
}

void detect(CpuFeatures& cpu) {
  for (int i = 0; i < 8; ++i) read_cache(i, cpu);
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) cpu.model = line.substr(colon + 2);
  }
}

#endif

/// The name without the blanks that pad it.
std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "unknown processor" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

CpuFeatures detect_all() {
  CpuFeatures cpu;
#if defined(__aarch64__) || defined(_M_ARM64)
  cpu.neon = true;
#endif
  detect(cpu);
  cpu.model = trimmed(cpu.model);
  return cpu;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const auto* features = new CpuFeatures(detect_all());
  return *features;
}

}  // namespace lowrank
