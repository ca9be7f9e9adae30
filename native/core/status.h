// What a kernel reports. Kernels never throw, print or abort.
#pragma once
#include <cstdint>

namespace lowrank {

enum class Code : uint8_t {
  ok,
  cancelled,           // the owner's abort flag was seen between tiles; outputs are unspecified
  index_out_of_range,  // an index tensor holds `found` at flat position `at`; allowed is [0, limit)
  not_finite,          // row `at` of a weight holds NaN, infinity or a number that is too large
  not_converged,       // an iteration (SVD) did not converge within its limit
  io_error,            // errno is in `found`
  io_short_read,       // `found` bytes came, `limit` were expected
};

struct Status {
  Code code = Code::ok;
  int64_t found = 0, at = 0, limit = 0;

  bool ok() const { return code == Code::ok; }
  static Status row(int64_t at) { return {Code::not_finite, 0, at, 0}; }
  static Status index(int64_t found, int64_t at, int64_t limit) { return {Code::index_out_of_range, found, at, limit}; }
};

}  // namespace lowrank
