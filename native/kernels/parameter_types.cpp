#include "kernels/parameter_types.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace lowrank {

namespace {

constexpr unsigned bit(DType t) { return 1u << static_cast<unsigned>(t); }
constexpr unsigned kFloats = bit(DType::f32) | bit(DType::bf16) | bit(DType::f16);
constexpr unsigned kQuantized = bit(DType::int8) | bit(DType::nf4);
constexpr unsigned kPlain = kFloats | bit(DType::i32) | bit(DType::u8);

struct Word {
  const char* text;
  ParameterType type;
};

const Word kWords[] = {
    {"f32", {false, false, 0}},
    {"i32", {false, false, 0}},
    {"u64", {false, false, 0}},
    {"bool", {false, false, 0}},
    {"In", {true, false, bit(DType::f32)}},
    {"Out", {true, false, bit(DType::f32)}},
    {"InOut", {true, false, bit(DType::f32)}},
    {"Weight", {true, false, kFloats | kQuantized}},
    {"Float", {true, false, kFloats}},
    {"FloatOut", {true, false, kFloats}},
    {"QuantizedOut", {true, false, kQuantized}},
    {"Index", {true, false, bit(DType::i32)}},
    {"IndexOut", {true, false, bit(DType::i32)}},
    {"Record", {true, false, bit(DType::u8)}},
    {"RecordInOut", {true, false, bit(DType::u8)}},
    {"Any", {true, false, kPlain | kQuantized}},
    {"Same", {true, true, kPlain}},
    {"SameOut", {true, true, kPlain}},
};

ParameterType type_of(const std::string& word) {
  for (const Word& known : kWords)
    if (word == known.text) return known.type;
  std::fprintf(stderr, "lowrank: kernels.def has a parameter of unknown type %s\n", word.c_str());
  std::abort();
}

}  // namespace

std::vector<ParameterType> parameter_types(const char* parameters) {
  std::vector<ParameterType> types;
  std::istringstream list(parameters);
  for (std::string word, name; list >> word >> name;) types.push_back(type_of(word));
  return types;
}

}  // namespace lowrank
