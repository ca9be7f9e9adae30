// The words for views in kernels.def. Each is one of In, Out and InOut for the compiler; the decoder reads from it which dtypes it accepts.
#pragma once
#include <vector>

#include "core/view.h"

namespace lowrank {

using Weight = In;          // f32, bf16, f16, int8 or nf4
using Float = In;           // f32, bf16 or f16
using FloatOut = Out;       // f32, bf16 or f16
using QuantizedOut = Out;   // int8 or nf4
using Index = In;           // i32
using IndexOut = Out;       // i32
using Record = In;          // u8: a StepRecord
using RecordInOut = InOut;  // u8: a StepRecord
using Any = In;             // any dtype
using Same = In;            // any dtype but int8 and nf4, the same in every Same and SameOut of a call
using SameOut = Out;

/// What a parameter of a kernel accepts.
struct ParameterType {
  bool is_view = false;
  bool same = false;    // Same, SameOut
  unsigned dtypes = 0;  // bit n: the DType of value n

  bool accepts(DType t) const { return (dtypes >> static_cast<unsigned>(t) & 1u) != 0; }
};

/// The types of parameters written as in kernels.def: "Out y, In x, f32 factor".
std::vector<ParameterType> parameter_types(const char* parameters);

}  // namespace lowrank
