// How many threads the pool starts with: what the user says, else the physical cores that this process may really use.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "core/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>

#include <vector>
#endif

namespace lowrank {

namespace {

constexpr int kMaxThreads = 1024;

int logical_cores() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

#if defined(__linux__)

/// Distinct (package, core) pairs among the processors of the affinity mask.
int physical_cores() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return logical_cores();
  std::set<std::string> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    std::string package, core;
    std::ifstream(folder + "physical_package_id") >> package;
    std::ifstream(folder + "core_id") >> core;
    cores.insert(core.empty() ? "cpu " + std::to_string(cpu) : package + "/" + core);
  }
  return std::max(1, static_cast<int>(cores.size()));
}

/// Whole processors in a quota of `quota` microseconds per `period`; no limit when the group sets none.
int whole_processors(double quota, double period) {
  return quota > 0 && period > 0 ? std::clamp(static_cast<int>(quota / period), 1, kMaxThreads) : kMaxThreads;
}

int group_limit_v2(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream(folder + "/cpu.max") >> quota >> period;  // "max 100000" leaves quota at 0
  return whole_processors(quota, period);
}

int group_limit_v1(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return whole_processors(quota, period);
}

/// The smallest limit from a control group up to the root of its mount.
int limit_upwards(const std::string& mount, std::string group, int (*limit_of)(const std::string&)) {
  int limit = limit_of(mount);
  while (!group.empty() && group != "/") {
    limit = std::min(limit, limit_of(mount + group));
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
  return limit;
}

/// Lines of /proc/self/cgroup are "id:controllers:group"; version 2 has the one with no controllers.
int quota_limit() {
  int limit = std::min(limit_upwards("/sys/fs/cgroup", "", group_limit_v2), limit_upwards("/sys/fs/cgroup/cpu", "", group_limit_v1));
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",", group = line.substr(second + 1);
    if (controllers == ",,") limit = std::min(limit, limit_upwards("/sys/fs/cgroup", group, group_limit_v2));
    if (controllers.find(",cpu,") != std::string::npos) limit = std::min(limit, limit_upwards("/sys/fs/cgroup/cpu", group, group_limit_v1));
  }
  return limit;
}

int usable_cores() { return std::min(physical_cores(), quota_limit()); }

#elif defined(__APPLE__)

int usable_cores() {
  int cores = 0;
  size_t size = sizeof cores;
  for (const char* name : {"hw.perflevel0.physicalcpu", "hw.physicalcpu"})
    if (sysctlbyname(name, &cores, &size, nullptr, 0) == 0 && cores > 0) return cores;
  return logical_cores();
}

#elif defined(_WIN32)

int usable_cores() {
  DWORD bytes = 0;
  GetLogicalProcessorInformation(nullptr, &bytes);
  std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> infos(bytes / sizeof(SYSTEM_LOGICAL_PROCESSOR_INFORMATION));
  DWORD_PTR allowed = 0, system = 0;
  if (!GetProcessAffinityMask(GetCurrentProcess(), &allowed, &system)) return logical_cores();
  if (infos.empty() || !GetLogicalProcessorInformation(infos.data(), &bytes)) return logical_cores();
  int cores = 0;
  for (const auto& info : infos) cores += info.Relationship == RelationProcessorCore && (info.ProcessorMask & allowed) != 0;
  return cores > 0 ? cores : logical_cores();
}

#else

int usable_cores() { return logical_cores(); }

#endif

}  // namespace

int ThreadPool::default_threads() {
  if (const char* text = std::getenv("LOWRANK_NUM_THREADS")) {
    char* end = nullptr;
    const long threads = std::strtol(text, &end, 10);
    if (end != text && *end == '\0' && threads >= 1) return static_cast<int>(std::min<long>(threads, kMaxThreads));
  }
  return usable_cores();
}

}  // namespace lowrank
