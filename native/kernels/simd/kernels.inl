// Everything of this folder, in order of need; included inside an ISA's namespace.
#include "kernels/simd/helpers.inl"

#include "kernels/simd/rows.inl"

#include "kernels/simd/exp.inl"

#include "kernels/simd/reductions.inl"

#include "kernels/simd/map.inl"

#include "kernels/simd/elementwise.inl"

/// Activations, over vectors of their own.
namespace wide {
using wides::Vec, wides::IVec, wides::kWidth, wides::zero, wides::broadcast, wides::load, wides::load_first;
#include "kernels/simd/exp.inl"

#include "kernels/simd/math.inl"

#include "kernels/simd/map.inl"

#include "kernels/simd/activations.inl"
}  // namespace wide
using wide::silu_forward, wide::silu_backward, wide::gelu_forward, wide::gelu_backward, wide::swiglu_forward, wide::swiglu_backward;

#include "kernels/simd/softmax.inl"

#include "kernels/simd/dropout.inl"

#include "kernels/simd/transformer.inl"

#include "kernels/simd/training.inl"

#include "kernels/simd/microkernel.inl"

#include "kernels/simd/pack.inl"

#include "kernels/simd/gemm.inl"

#include "kernels/simd/few_rows.inl"

#include "kernels/simd/few_columns.inl"

#include "kernels/simd/products.inl"

#include "kernels/simd/lora.inl"

#include "kernels/simd/linear_cross_entropy.inl"

#include "kernels/simd/attention.inl"

#include "kernels/simd/attention_backward.inl"

#include "kernels/simd/fill.inl"
