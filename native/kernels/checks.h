// What kernels check of the numbers in their index tensors; the rest was checked before submission.
#pragma once
#include "core/status.h"
#include "core/view.h"

namespace lowrank {

/// The first index (i32 [rows, 1]) that is not in [0, limit), as an error.
inline Status check_indexes(const View& indexes, int64_t limit) {
  for (int64_t r = 0; r < indexes.rows; ++r) {
    const int32_t index = *indexes.row<const int32_t>(r);
    if (index < 0 || index >= limit) return Status::index(index, r, limit);
  }
  return {};
}

/// The first label (i32 [rows, 1]) that is neither `ignore` nor in [0, limit), as an error; `counted` becomes the number of the others.
inline Status check_labels(const View& labels, int32_t ignore, int64_t limit, int64_t& counted) {
  counted = 0;
  for (int64_t r = 0; r < labels.rows; ++r) {
    const int32_t label = *labels.row<const int32_t>(r);
    if (label == ignore) continue;
    if (label < 0 || label >= limit) return Status::index(label, r, limit);
    ++counted;
  }
  return {};
}

}  // namespace lowrank
