#include "bind/module.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>

#include "bind/environment.h"
#include "core/cpu_features.h"
#include "core/step_record.h"

#ifndef LOWRANK_VERSION
#define LOWRANK_VERSION "development"
#endif

namespace lowrank {

namespace {

using Info = Napi::CallbackInfo;

Environment& self(const Info& info) { return *info.Env().GetInstanceData<Environment>(); }

// These functions are called by lib/native only; a wrong argument is a defect of ours, reported as a TypeError and never trusted.
[[noreturn]] void reject(const Info& info, const char* what) { throw Napi::TypeError::New(info.Env(), what); }

double number(const Info& info, size_t i) {
  if (i >= info.Length() || !info[i].IsNumber()) reject(info, "expected a number");
  return info[i].As<Napi::Number>().DoubleValue();
}

int64_t natural(const Info& info, size_t i) {
  const double x = number(info, i);
  if (!(x >= 0 && x <= 9007199254740992.0 && x == std::floor(x))) reject(info, "expected a natural number");
  return static_cast<int64_t>(x);
}

bool flag(const Info& info, size_t i) { return i < info.Length() && info[i].ToBoolean().Value(); }

Napi::Uint8Array bytes(const Info& info, size_t i) {
  if (i >= info.Length() || !info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    reject(info, "expected a Uint8Array");
  return info[i].As<Napi::Uint8Array>();
}

void check(const Info& info, const char* error) {
  if (error != nullptr) reject(info, error);
}

// --- what there is ------------------------------------------------------------------------------------------------------------------

Napi::Value describe(const Info& info) {
  const Napi::Env env = info.Env();
  auto result = Napi::Object::New(env);
  result["version"] = Napi::String::New(env, LOWRANK_VERSION);
  result["cpu"] = Napi::String::New(env, cpu_features().model);
  result["threads"] = Napi::Number::New(env, ThreadPool::shared().threads());
  auto names = Napi::Array::New(env);
  for (const Backend& backend : backends())
    if (backend.available()) names.Set(names.Length(), Napi::String::New(env, backend.name));
  result["backends"] = names;
  result["bestBackend"] = Napi::String::New(env, best_backend());
  auto kernels = Napi::Array::New(env);
  for (const KernelInfo& kernel : kernel_infos()) {
    auto row = Napi::Object::New(env);
    row["name"] = Napi::String::New(env, kernel.name);
    row["parameters"] = Napi::String::New(env, kernel.parameters);
    kernels.Set(kernels.Length(), row);
  }
  result["kernels"] = kernels;
  auto record = Napi::Object::New(env), fields = Napi::Object::New(env);
  const auto add = [&](const char* name, const char* type, size_t offset) {
    auto field = Napi::Object::New(env);
    field["type"] = Napi::String::New(env, type);
    field["offset"] = Napi::Number::New(env, static_cast<double>(offset));
    fields[name] = field;
  };
#define F(name, type) add(#name, #type, offsetof(StepRecord, name));
  LOWRANK_STEP_RECORD_FIELDS(F)
#undef F
  record["bytes"] = Napi::Number::New(env, sizeof(StepRecord));
  record["fields"] = fields;
  result["stepRecord"] = record;
  return result;
}

// Process-wide; the first environment's choice stays. Returns the backend in use, or null when `name` cannot run here.
Napi::Value choose_backend(const Info& info) {
  static auto* mutex = new std::mutex;
  static auto* chosen = new std::string;
  const std::string name = info[0].ToString();
  const KernelTable* table = kernel_table(name);
  if (table == nullptr) return info.Env().Null();
  std::lock_guard lock(*mutex);
  if (chosen->empty()) {
    *chosen = name;
    select_backend(table);
  }
  return Napi::String::New(info.Env(), *chosen);
}

// --- memory -------------------------------------------------------------------------------------------------------------------------

Napi::Value allocate(const Info& info) {
  return Napi::Number::New(info.Env(), self(info).allocate(natural(info, 0), flag(info, 1), flag(info, 2), flag(info, 3)));
}

void release(const Info& info) { self(info).release(number(info, 0)); }

Napi::Value memory(const Info& info) {
  const PoolCounters& c = self(info).pool().counters();
  auto result = Napi::Object::New(info.Env());
  result["buffers"] = Napi::Number::New(info.Env(), static_cast<double>(c.buffers));
  result["bytes"] = Napi::Number::New(info.Env(), static_cast<double>(c.bytes));
  result["reservedBytes"] = Napi::Number::New(info.Env(), static_cast<double>(c.reserved));
  result["arenaBytes"] = Napi::Number::New(info.Env(), static_cast<double>(self(info).arena_bytes()));
  result["peakBytes"] = Napi::Number::New(info.Env(), static_cast<double>(c.peak));
  result["budgetBytes"] = Napi::Number::New(info.Env(), static_cast<double>(Budget::shared().limit()));
  result["processBytes"] = Napi::Number::New(info.Env(), static_cast<double>(Budget::shared().reserved()));
  return result;
}

void reset_peak(const Info& info) { self(info).pool().reset_peak(); }

/// A budget below what is held gives free blocks back at once.
void set_budget(const Info& info) {
  Budget& budget = Budget::shared();
  budget.set_limit(natural(info, 0));
  if (budget.reserved() > budget.limit()) self(info).return_spare();
}

// --- commands -----------------------------------------------------------------------------------------------------------------------

/// Undefined, or "out of memory", which lib/native explains; any other error is a defect of ours.
Napi::Value submitted(const Info& info, const char* error) {
  if (error != nullptr && std::strcmp(error, "out of memory") == 0) return Napi::String::New(info.Env(), error);
  check(info, error);
  return info.Env().Undefined();
}

Napi::Value submit(const Info& info) {
  return submitted(info, self(info).submit(static_cast<uint32_t>(natural(info, 0)), number(info, 1)));
}

void write(const Info& info) {
  const auto data = bytes(info, 2);
  check(info, self(info).write(number(info, 0), natural(info, 1), reinterpret_cast<const std::byte*>(data.Data()),
                               static_cast<int64_t>(data.ByteLength())));
}

// read(destination, owner): the view stands in the argument numbers, as for a kernel's first parameter.
Napi::Value read(const Info& info) {
  Environment& env = self(info);
  const auto destination = bytes(info, 0);
  if (env.is_recording()) reject(info, "a read while a recording is made");
  View view;
  const double* numbers = env.numbers();
  check(info, decode_view(env, numbers, view));
  if (!view || view.size() * bytes_of(view.dtype) != static_cast<int64_t>(destination.ByteLength()))
    reject(info, "the destination has another size than the view");
  if (env.owner(number(info, 1)) == nullptr) reject(info, "no such owner");
  return env.read(view, destination, number(info, 1));
}

Napi::Value fence(const Info& info) { return self(info).fence(); }

// readFile(file, fileOffset, bytes, handle, offset, owner)
Napi::Value read_file(const Info& info) {
  Environment& env = self(info);
  if (env.is_recording()) reject(info, "a read while a recording is made");
  const int64_t count = natural(info, 2), offset = natural(info, 4);
  View view;
  const int64_t capacity = env.resolve(number(info, 3), view);
  if (capacity < 0 || offset > capacity || count > capacity - offset) reject(info, "the read does not fit the buffer");
  if (env.owner(number(info, 5)) == nullptr) reject(info, "no such owner");
  return env.read_file(static_cast<int>(natural(info, 0)), natural(info, 1), count, number(info, 3), offset, number(info, 5));
}

Napi::Value create_owner(const Info& info) { return Napi::Number::New(info.Env(), self(info).create_owner()); }

void abort_owner(const Info& info) { self(info).abort_owner(number(info, 0)); }

// --- recordings -----------------------------------------------------------------------------------------------------------------------

void begin_recording(const Info& info) {
  if (self(info).is_recording()) reject(info, "a recording is being made already");
  self(info).begin_recording();
}

Napi::Value end_recording(const Info& info) {
  Environment& env = self(info);
  if (!env.is_recording()) reject(info, "no recording is being made");
  const double id = env.end_recording();
  const Recording& recording = *env.recording(id);
  auto result = Napi::Object::New(info.Env());
  result["id"] = Napi::Number::New(info.Env(), id);
  result["commands"] = Napi::Number::New(info.Env(), static_cast<double>(recording.commands()));
  result["bytes"] = Napi::Number::New(info.Env(), static_cast<double>(recording.bytes()));
  return result;
}

Napi::Value reserve_arena(const Info& info) { return Napi::Boolean::New(info.Env(), self(info).reserve_arena(natural(info, 0))); }

Napi::Value replay(const Info& info) { return submitted(info, self(info).replay(number(info, 0), number(info, 1))); }

void forget_recording(const Info& info) { self(info).forget_recording(number(info, 0)); }

// --- profiling: both are called when the stream is drained ----------------------------------------------------------------------------

void start_profile(const Info& info) {
  Environment& env = self(info);
  env.stream().drain();
  env.profile_rows.clear();
  env.stream().profile = &env.profile_rows;
}

Napi::Value stop_profile(const Info& info) {
  Environment& env = self(info);
  env.stream().drain();
  env.stream().profile = nullptr;
  auto rows = Napi::Array::New(info.Env());
  for (const ProfileRow& row : env.profile_rows) {
    auto object = Napi::Object::New(info.Env());
    object["kernel"] = Napi::String::New(info.Env(), row.kernel);
    object["shapes"] = Napi::String::New(info.Env(), row.shapes);
    object["ns"] = Napi::Number::New(info.Env(), static_cast<double>(row.nanoseconds));
    object["flops"] = Napi::Number::New(info.Env(), static_cast<double>(row.flops));
    object["bytes"] = Napi::Number::New(info.Env(), static_cast<double>(row.bytes));
    rows.Set(rows.Length(), object);
  }
  env.profile_rows.clear();
  return rows;
}

}  // namespace

Napi::Object init_module(Napi::Env env, Napi::Object exports) {
  auto* state = new Environment(env);
  env.SetInstanceData(state);
  exports["args"] = state->args();
  exports["describe"] = Napi::Function::New(env, describe);
  exports["chooseBackend"] = Napi::Function::New(env, choose_backend);
  exports["allocate"] = Napi::Function::New(env, allocate);
  exports["release"] = Napi::Function::New(env, release);
  exports["memory"] = Napi::Function::New(env, memory);
  exports["resetPeak"] = Napi::Function::New(env, reset_peak);
  exports["setBudget"] = Napi::Function::New(env, set_budget);
  exports["submit"] = Napi::Function::New(env, submit);
  exports["beginRecording"] = Napi::Function::New(env, begin_recording);
  exports["endRecording"] = Napi::Function::New(env, end_recording);
  exports["reserveArena"] = Napi::Function::New(env, reserve_arena);
  exports["replay"] = Napi::Function::New(env, replay);
  exports["forgetRecording"] = Napi::Function::New(env, forget_recording);
  exports["write"] = Napi::Function::New(env, write);
  exports["read"] = Napi::Function::New(env, read);
  exports["fence"] = Napi::Function::New(env, fence);
  exports["readFile"] = Napi::Function::New(env, read_file);
  exports["createOwner"] = Napi::Function::New(env, create_owner);
  exports["abortOwner"] = Napi::Function::New(env, abort_owner);
  exports["startProfile"] = Napi::Function::New(env, start_profile);
  exports["stopProfile"] = Napi::Function::New(env, stop_profile);
  return exports;
}

}  // namespace lowrank
