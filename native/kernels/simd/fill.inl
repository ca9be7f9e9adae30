// The entries of the kernel table that this folder overrides.

void fill_entries(KernelTable& table) {
#define LOWRANK_ENTRY(name) table.name = name;
#define LOWRANK_ENTRY_WITH_SCRATCH(name) \
  table.name = name;                     \
  table.name##_scratch = name##_scratch;
  LOWRANK_ENTRY(fill)
  LOWRANK_ENTRY(cast)
  LOWRANK_ENTRY(accumulate)
  LOWRANK_ENTRY(add_forward)
  LOWRANK_ENTRY(add_backward)
  LOWRANK_ENTRY(mul_forward)
  LOWRANK_ENTRY(mul_backward)
  LOWRANK_ENTRY(scale)
  LOWRANK_ENTRY(multiply_add)
  LOWRANK_ENTRY(relu_forward)
  LOWRANK_ENTRY(relu_backward)
  LOWRANK_ENTRY(gelu_forward)
  LOWRANK_ENTRY(gelu_backward)
  LOWRANK_ENTRY(silu_forward)
  LOWRANK_ENTRY(silu_backward)
  LOWRANK_ENTRY(dropout)
  LOWRANK_ENTRY(sum_all)
  LOWRANK_ENTRY(sum_cols)
  LOWRANK_ENTRY(sum_rows)
  LOWRANK_ENTRY(softmax_forward)
  LOWRANK_ENTRY(softmax_backward)
  LOWRANK_ENTRY(cross_entropy_forward)
  LOWRANK_ENTRY(cross_entropy_backward)
  LOWRANK_ENTRY(rms_norm_forward)
  LOWRANK_ENTRY(rms_norm_backward)
  LOWRANK_ENTRY(swiglu_forward)
  LOWRANK_ENTRY(swiglu_backward)
  LOWRANK_ENTRY(rope)
  LOWRANK_ENTRY(grad_squares)
  LOWRANK_ENTRY(adam)
  LOWRANK_ENTRY(sgd)
  LOWRANK_ENTRY_WITH_SCRATCH(linear_forward)
  LOWRANK_ENTRY_WITH_SCRATCH(linear_backward)
  LOWRANK_ENTRY_WITH_SCRATCH(matmul)
  LOWRANK_ENTRY_WITH_SCRATCH(attention_forward)
  LOWRANK_ENTRY_WITH_SCRATCH(attention_backward)
  LOWRANK_ENTRY_WITH_SCRATCH(linear_cross_entropy)
  LOWRANK_ENTRY_WITH_SCRATCH(lora_forward)
  LOWRANK_ENTRY_WITH_SCRATCH(lora_backward)
#undef LOWRANK_ENTRY
#undef LOWRANK_ENTRY_WITH_SCRATCH
}
