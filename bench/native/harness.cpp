#include "harness.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <stdexcept>

namespace bench {

double now_ns(int threads) {
#if defined(CLOCK_THREAD_CPUTIME_ID)
  timespec time{};
  if (threads == 1 && clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0) {
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
  }
#endif
  (void)threads;
  return static_cast<double>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n == 0 ? 0 : n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// How many runs make a sample of about 15 ms.
int runs_per_sample(const Row& row) {
  const double begin = now_ns(row.threads);
  row.run();
  const double one = std::max(1.0, now_ns(row.threads) - begin);
  return static_cast<int>(std::clamp(15e6 / one, 1.0, 100000.0));
}

double sample(const Row& row, int runs) {
  const double begin = now_ns(row.threads);
  for (int i = 0; i < runs; ++i) row.run();
  return (now_ns(row.threads) - begin) / runs;
}

/// What limits a row, measured once in a round for each limit and number of threads.
double limit_of(const Row& row, std::map<std::string, double>& measured) {
  const auto measure = row.bytes == 0 ? measure_peak : row.only_reads ? measure_read : measure_copy;
  const std::string key = (row.bytes == 0 ? "peak" : row.only_reads ? "read" : "copy") + std::to_string(row.threads);
  const auto found = measured.find(key);
  return found != measured.end() ? found->second : measured[key] = measure(row.threads);
}

}  // namespace

lowrank::ThreadPool& pool_of(int threads) {
  static std::map<int, std::unique_ptr<lowrank::ThreadPool>> pools;
  auto& pool = pools[threads];
  if (!pool) pool = std::make_unique<lowrank::ThreadPool>(threads);
  return *pool;
}

lowrank::Context context_of(int threads, int64_t scratch_bytes, Bytes& memory) {
  memory = std::make_shared<AlignedVector<std::byte>>(static_cast<size_t>(scratch_bytes));
  return {pool_of(threads), nullptr, memory->data()};
}

void run_group(Group& group, int rounds) {
  std::vector<int> runs;
  for (Row& row : group) {
    row.run();
    const std::string wrong = row.verify();
    if (!wrong.empty()) throw std::runtime_error(row.key() + ": " + wrong);
    runs.push_back(runs_per_sample(row));
  }
  std::vector<std::vector<double>> times(group.size()), shares(group.size()), quotients(group.size());
  for (int round = 0; round < rounds; ++round) {
    std::map<std::string, double> limits;
    for (size_t i = 0; i < group.size(); ++i) {
      times[i].push_back(sample(group[i], runs[i]));
      const double limit = limit_of(group[i], limits);
      const double work = group[i].bytes > 0 ? group[i].bytes : group[i].flops;
      if (limit > 0) shares[i].push_back(work / times[i].back() / limit);
    }
    for (size_t i = 0; i < group.size(); ++i) {
      for (size_t j = 0; j < group.size() && !group[i].compared_with.empty(); ++j) {
        if (group[j].key() == group[i].compared_with) quotients[i].push_back(times[i].back() / times[j].back());
      }
    }
  }
  for (size_t i = 0; i < group.size(); ++i) {
    group[i].median_ns = median(times[i]);
    group[i].share = median(shares[i]);
    group[i].quotient = median(quotients[i]);
  }
}

}  // namespace bench
