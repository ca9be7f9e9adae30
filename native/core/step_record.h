// Everything that changes from step to step but not in shape. It lives in device memory, is written by the first command of a step, and
// is read by kernels; no such value is ever a command argument, so a recorded step can be replayed.
// The field list is exported to TypeScript by the addon: this file is its only description.
#pragma once
#include <cstddef>
#include <cstdint>

namespace lowrank {

struct StepRecord {
  // Written by the trainer before the step.
  uint64_t seed;   // key of every random number of the run
  uint32_t step;   // optimizer steps done before this one
  uint32_t micro;  // micro-batch within the step
  float learning_rate;
  float weight_decay;
  float bias_correction1;  // 1 - beta1^(step + 1)
  float bias_correction2;  // 1 - beta2^(step + 1)
  float max_grad_norm;     // 0: no clipping
  float gradient_divisor;  // what summed gradients are divided by (counted tokens or examples of the step)
  // Written by kernels during the step.
  double loss_sum;      // sum of the micro-batches' losses
  double grad_squares;  // sum of squares of the summed gradients
  float clip_factor;    // what the optimizer multiplies gradients with: 1 / divisor, and the clipping; set by step_gate
  float grad_norm;      // norm of the divided gradient, before clipping; set by step_gate
  int32_t halted;       // 1 from the first non-finite loss or gradient on; the optimizer then changes nothing
  int32_t first_bad;    // flat index of the first non-finite gradient, or -1 (the loss itself, or none)
  uint32_t steps_done;  // step + 1 once the optimizer has changed the weights
};

// name, C++ field, TypeScript type. The one list that the addon exports.
#define LOWRANK_STEP_RECORD_FIELDS(F) \
  F(seed, u64)                        \
  F(step, u32)                        \
  F(micro, u32)                       \
  F(learning_rate, f32)               \
  F(weight_decay, f32)                \
  F(bias_correction1, f32)            \
  F(bias_correction2, f32)            \
  F(max_grad_norm, f32)               \
  F(gradient_divisor, f32)            \
  F(loss_sum, f64)                    \
  F(grad_squares, f64)                \
  F(clip_factor, f32)                 \
  F(grad_norm, f32)                   \
  F(halted, i32)                      \
  F(first_bad, i32)                   \
  F(steps_done, u32)

}  // namespace lowrank
