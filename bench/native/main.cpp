// lowrank_bench [words] [--backend NAME] [--rounds N] [--json FILE] [--list]; the backends openblas and onednn are other libraries.
// Words filter groups of rows: one runs when its key, which --list prints, holds every word. See bench/native/README.md.
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
  bool list = false;
};

Options parse(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    if (word.rfind("--", 0) != 0) {
      options.words.push_back(word);
      continue;
    }
    if (word == "--list") {
      options.list = true;
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
      throw std::runtime_error("unknown option " + word + "; known are --backend, --rounds, --json and --list");
    }
  }
  return options;
}

void print(const bench::Row& row) {
  std::printf("%-22s %-20s %-4s %-5s x%d %12.0f", row.name.c_str(), row.shape.c_str(), row.form.c_str(), row.dtype.c_str(), row.threads,
              row.median_ns);
  if (row.bytes > 0) {
    std::printf(" %9.1f GB/s    %6.3f of %s", row.bytes / row.median_ns, row.share, row.only_reads ? "reading" : "copying");
  } else {
    std::printf(" %9.1f GFLOP/s %6.3f of peak", row.flops / row.median_ns, row.share);
  }
  if (row.quotient > 0) std::printf("  time quotient %.3f", row.quotient);
  if (row.quotient > 0 && row.limit > 0) std::printf(" (at most %.3f: %s)", row.limit, row.quotient <= row.limit ? "met" : "MISSED");
  std::printf("\n");
  std::fflush(stdout);
}

/// What the machine can do on one thread and on two.
struct Machine {
  double peak[2], read[2], copy[2];

  Machine() {
    for (const int threads : {1, 2}) {
      peak[threads - 1] = bench::measure_peak(threads);
      read[threads - 1] = bench::measure_read(threads), copy[threads - 1] = bench::measure_copy(threads);
    }
  }
};

void write_json(const Options& options, const std::string& version, const Machine& machine, const std::vector<bench::Row>& rows) {
  std::ofstream out(options.json);
  out << "{\"cpu\": \"" << lowrank::cpu_features().model << "\", \"backend\": \"" << options.backend << "\", \"version\": \"" << version
      << "\",\n \"peak1\": " << machine.peak[0] << ", \"peak2\": " << machine.peak[1] << ", \"read1\": " << machine.read[0]
      << ", \"read2\": " << machine.read[1] << ", \"copy1\": " << machine.copy[0] << ", \"copy2\": " << machine.copy[1] << ", \"rows\": [";
  for (size_t i = 0; i < rows.size(); ++i) {
    const bench::Row& r = rows[i];
    out << (i ? ",\n" : "\n") << "  {\"name\": \"" << r.name << "\", \"shape\": \"" << r.shape << "\", \"form\": \"" << r.form
        << "\", \"dtype\": \"" << r.dtype << "\", \"threads\": " << r.threads << ", \"medianNs\": " << r.median_ns << ", \"limitedBy\": \""
        << (r.bytes == 0   ? "peak"
            : r.only_reads ? "read"
                           : "copy")
        << "\", \"share\": " << r.share;
    if (r.flops > 0) out << ", \"gflops\": " << r.flops / r.median_ns;
    if (r.bytes > 0) out << ", \"gigabytesPerSecond\": " << r.bytes / r.median_ns;
    if (r.quotient > 0) out << ", \"comparedWith\": \"" << r.compared_with << "\", \"timeQuotient\": " << r.quotient;
    if (r.limit > 0) out << ", \"limit\": " << r.limit;
    out << "}";
  }
  out << "\n]}\n";
  if (!out.good()) throw std::runtime_error("cannot write " + options.json);
}

bench::Subject subject_of(const Options& options) {
  bench::Subject subject;
  if (bench::is_blas(options.backend)) {
    subject = bench::blas_subject(options.backend);
  } else {
    subject.table = lowrank::kernel_table(options.backend);
    if (!subject.table) throw std::runtime_error("backend " + options.backend + " is unknown or cannot run here");
  }
  subject.words = options.words;
  return subject;
}

bench::Groups groups_of(const bench::Subject& subject) {
  bench::Groups groups;
  bench::add_product_groups(subject, groups);
  bench::add_lora_groups(subject, groups);
  bench::add_grouped_groups(subject, groups);
  bench::add_transformer_groups(subject, groups);
  bench::add_elementwise_groups(subject, groups);
  return groups;
}

int list(const Options& options) {
  std::vector<std::string> keys;
  bench::Subject subject = subject_of(options);
  subject.listed = &keys;
  groups_of(subject);
  for (const std::string& key : keys) std::printf("%s\n", key.c_str());
  return 0;
}

int run(const Options& options) {
  const bench::Subject subject = subject_of(options);
  const bench::Groups groups = groups_of(subject);
  lowrank::flush_subnormals();
  const Machine machine;
  std::printf("%s, %s %s\none thread %.1f GFLOP/s, reads %.1f GB/s, copies %.1f GB/s; two threads %.1f, %.1f, %.1f\n",
              lowrank::cpu_features().model.c_str(), options.backend.c_str(), subject.version.c_str(), machine.peak[0], machine.read[0],
              machine.copy[0], machine.peak[1], machine.read[1], machine.copy[1]);
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
  if (!options.json.empty()) write_json(options, subject.version, machine, rows);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const Options options = parse(count, arguments);
    return options.list ? list(options) : run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lowrank_bench: %s\n", error.what());
    return 1;
  }
}
