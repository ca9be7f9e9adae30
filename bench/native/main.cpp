// lowrank_bench [words] [--backend NAME] [--rounds N] [--json FILE]
// Words filter rows: a group runs when its name and shape hold every word. See bench/native/README.md.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "core/cpu_features.h"
#include "harness.h"

namespace {

struct Options {
  std::vector<std::string> words;
  std::string backend = lowrank::best_backend(), json;
  int rounds = 9;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    if (word.rfind("--", 0) != 0) {
      options.words.push_back(word);
      continue;
    }
    if (i + 1 == count) throw std::runtime_error(word + " needs a value");
    const std::string value = arguments[++i];
    if (word == "--backend") {
      options.backend = value;
    } else if (word == "--json") {
      options.json = value;
    } else if (word == "--rounds") {
      options.rounds = std::max(1, std::atoi(value.c_str()));
    } else {
      throw std::runtime_error("unknown option " + word + "; known are --backend, --rounds and --json");
    }
  }
  return options;
}

void print(const bench::Row& row) {
  std::printf("%-22s %-20s %-4s %-5s x%d %12.0f", row.name.c_str(), row.shape.c_str(), row.form.c_str(), row.dtype.c_str(), row.threads,
              row.median_ns);
  if (row.flops > 0) std::printf(" %9.1f GFLOP/s %6.3f", row.flops / row.median_ns, row.share_of_peak);
  if (row.bytes > 0) std::printf(" %9.1f GB/s", row.bytes / row.median_ns);
  if (row.quotient > 0) std::printf("  time quotient %.3f", row.quotient);
  if (row.quotient > 0 && row.limit > 0) std::printf(" (at most %.3f: %s)", row.limit, row.quotient <= row.limit ? "met" : "MISSED");
  std::printf("\n");
  std::fflush(stdout);
}

void write_json(const Options& options, double peak, const std::vector<bench::Row>& rows) {
  std::ofstream out(options.json);
  out << "{\"cpu\": \"" << lowrank::cpu_features().model << "\", \"threads\": " << lowrank::ThreadPool::default_threads()
      << ", \"backend\": \"" << options.backend << "\", \"peak\": " << peak << ", \"rows\": [";
  for (size_t i = 0; i < rows.size(); ++i) {
    const bench::Row& r = rows[i];
    out << (i ? ",\n" : "\n") << "  {\"name\": \"" << r.name << "\", \"shape\": \"" << r.shape << "\", \"form\": \"" << r.form
        << "\", \"dtype\": \"" << r.dtype << "\", \"threads\": " << r.threads << ", \"medianNs\": " << r.median_ns
        << ", \"gflops\": " << r.flops / r.median_ns << ", \"shareOfPeak\": " << r.share_of_peak
        << ", \"gigabytesPerSecond\": " << r.bytes / r.median_ns;
    if (r.quotient > 0) out << ", \"comparedWith\": \"" << r.compared_with << "\", \"timeQuotient\": " << r.quotient;
    out << "}";
  }
  out << "\n]}\n";
  if (!out.good()) throw std::runtime_error("cannot write " + options.json);
}

int run(const Options& options) {
  const lowrank::KernelTable* table = lowrank::kernel_table(options.backend);
  if (!table) throw std::runtime_error("backend " + options.backend + " is unknown or cannot run here");
  const bench::Filter wanted = [&](const std::string& key) {
    for (const std::string& word : options.words)
      if (key.find(word) == std::string::npos) return false;
    return true;
  };
  std::vector<std::function<bench::Group()>> groups;
  bench::add_product_groups(*table, wanted, groups);
  bench::add_lora_groups(*table, wanted, groups);
  bench::add_elementwise_groups(*table, wanted, groups);
  lowrank::flush_subnormals();
  const double peak = bench::measure_peak(1);
  std::printf("%s, backend %s, peak of one thread %.1f GFLOP/s, of two %.1f\n", lowrank::cpu_features().model.c_str(),
              options.backend.c_str(), peak, bench::measure_peak(2));
  std::vector<bench::Row> rows;
  for (const auto& make : groups) {
    bench::Group group = make();
    bench::run_group(group, options.rounds);
    for (bench::Row& row : group) {
      print(row);
      row.run = nullptr, row.verify = nullptr;  // frees the matrices
      rows.push_back(row);
    }
  }
  if (!options.json.empty()) write_json(options, peak, rows);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(parse(count, arguments));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lowrank_bench: %s\n", error.what());
    return 1;
  }
}
