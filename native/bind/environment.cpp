#include "bind/environment.h"

#include <cstdlib>

#include "bind/host_commands.h"

namespace lowrank {

namespace {

// A handle is generation * 2^24 + index + 1: a stale handle does not name the buffer that took its place.
constexpr double kIndexes = 16777216.0;
constexpr uint32_t kGenerations = 1u << 28;
constexpr int64_t kExternalStep = 1 << 20;

const char* name_of(Code code) {
  switch (code) {
    case Code::ok:
      return "ok";
    case Code::cancelled:
      return "cancelled";
    case Code::index_out_of_range:
      return "index_out_of_range";
    case Code::not_finite:
      return "not_finite";
    case Code::not_converged:
      return "not_converged";
    case Code::io_error:
      return "io_error";
    case Code::io_short_read:
      return "io_short_read";
  }
  return "unknown";
}

Napi::Object to_js(Napi::Env env, const Failure& failure) {
  auto object = Napi::Object::New(env);
  object["kernel"] = Napi::String::New(env, failure.kernel);
  object["code"] = Napi::String::New(env, name_of(failure.status.code));
  object["found"] = Napi::Number::New(env, static_cast<double>(failure.status.found));
  object["at"] = Napi::Number::New(env, static_cast<double>(failure.status.at));
  object["limit"] = Napi::Number::New(env, static_cast<double>(failure.status.limit));
  return object;
}

}  // namespace

Environment::Environment(Napi::Env env)
    : env_(env),
      args_array_(Napi::Persistent(Napi::Float64Array::New(env, kArgs))),
      numbers_(args_array_.Value().Data()),
      wake_(Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "lowrank", 0, 1)),
      compute_([this] { wake_.NonBlockingCall([this](Napi::Env, Napi::Function) { deliver(); }); }),
      files_([this] { wake_.NonBlockingCall([this](Napi::Env, Napi::Function) { deliver(); }); }) {
  wake_.Unref(env);
  owners_.emplace_back().sticky = false;
  // Registered after the thread-safe function, hence run before its own hook: no thread of ours calls it once it is gone.
  env.AddCleanupHook([](Environment* self) { self->shut_down(); }, this);
}

Environment::~Environment() = default;

void Environment::shut_down() {
  for (Owner& owner : owners_) owner.cancelled.store(true);
  compute_.stop();
  files_.stop();
  account_external(-external_);
}

// --- buffers ----------------------------------------------------------------------------------------------------------------------

bool Environment::return_spare() {
  if (!pool_.has_spare()) return false;
  compute_.drain();
  files_.drain();
  pool_.trim();
  return true;
}

Block* Environment::take_block(int64_t bytes, Use use) {
  Block* block = pool_.take(bytes, use, compute_.finished());
  return block == nullptr && return_spare() ? pool_.take(bytes, use, compute_.finished()) : block;
}

uint32_t Environment::take_slot() {
  uint32_t index;
  if (free_slots_.empty()) {
    index = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    index = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[index].generation = (slots_[index].generation + 1) % kGenerations;
  return index;
}

double Environment::allocate(int64_t bytes, bool state, bool external, bool fresh) {
  // State outlives recordings, and files are read while one is made.
  const bool planned = tracing_ != nullptr && !state && !fresh;
  const Use use = fresh ? Use::file : state ? Use::state : Use::passing;
  Block* block = planned ? tracing_->recording->allocate(bytes) : take_block(bytes, use);
  if (block == nullptr) return 0;
  const uint32_t index = take_slot();
  Slot& s = slots_[index];
  s.block = block, s.bytes = bytes, s.external = external && !planned, s.planned = planned, s.released = false, s.used = false, s.pins = 0;
  if (s.external) account_external(bytes);
  return s.generation * kIndexes + index + 1;
}

Environment::Slot* Environment::slot(double handle) {
  if (!(handle >= 1)) return nullptr;
  const double generation = std::floor((handle - 1) / kIndexes), index = handle - 1 - generation * kIndexes;
  if (index != std::floor(index) || index >= static_cast<double>(slots_.size())) return nullptr;
  Slot& s = slots_[static_cast<size_t>(index)];
  return s.released || static_cast<double>(s.generation) != generation ? nullptr : &s;
}

void Environment::release(double handle) {
  Slot* s = slot(handle);
  if (s == nullptr) return;
  s->released = true;
  if (s->pins == 0) free_slot(static_cast<uint32_t>(s - slots_.data()));
}

void Environment::free_slot(uint32_t index) {
  Slot& s = slots_[index];
  if (s.planned)
    tracing_->recording->release(s.block);
  else
    pool_.give_back(s.block, s.bytes, compute_.published());
  if (s.external) account_external(-s.bytes);
  s.block = nullptr;
  free_slots_.push_back(index);
}

int64_t Environment::resolve(double handle, View& view) const {
  const Slot* s = slot(handle);
  if (s == nullptr) return -1;
  s->used = true;
  view.data = s->block->data, view.block = s->block, view.incarnation = s->block->incarnation;
  return s->bytes;
}

// V8 hears of outside memory in steps: each call costs more than a small op.
void Environment::account_external(int64_t bytes) {
  external_ += bytes;
  const int64_t difference = external_ - reported_external_;
  if (std::abs(difference) < kExternalStep && external_ != 0) return;
  Napi::MemoryManagement::AdjustExternalMemory(env_, difference);
  reported_external_ = external_;
}

// --- commands ---------------------------------------------------------------------------------------------------------------------

const char* Environment::submit(uint32_t index, double owner_id) {
  const auto& infos = kernel_infos();
  Owner* who = owner(owner_id);
  if (index >= infos.size()) return "no such kernel";
  if (who == nullptr) return "no such owner";
  const KernelInfo& info = infos[index];
  if (tracing_ != nullptr) {
    alignas(Command::kArgumentAlignment) std::byte args[Command::kArgumentBytes];
    if (const char* error = decode(info, *this, numbers_, args)) return error;
    tracing_->recording->add(info, args, info.scratch(active_table(), ThreadPool::shared().threads(), args));
    pin_outside(info);
    return nullptr;
  }
  Command& command = compute_.begin();
  if (const char* error = decode(info, *this, numbers_, command.args)) return error;
  std::byte* scratch = nullptr;
  const int64_t scratch_bytes = info.scratch(active_table(), ThreadPool::shared().threads(), command.args);
  if (scratch_bytes > 0) {
    Block* block = take_block(scratch_bytes, Use::passing);
    if (block == nullptr) return "out of memory";
    scratch = block->data;
    pool_.give_back(block, scratch_bytes, compute_.published() + 1);  // later commands come later
  }
  make_kernel_command(command, info, who, scratch);
  compute_.publish();
  return nullptr;
}

const char* Environment::write(double handle, int64_t offset, const std::byte* data, int64_t bytes) {
  if (tracing_ != nullptr) return "a write while a recording is made";
  Slot* s = slot(handle);
  if (s == nullptr) return "a write names a buffer that does not exist";
  const bool untouched = !s->used && s->block->used_until <= compute_.finished();
  View view;
  const int64_t capacity = resolve(handle, view);
  s->used = !untouched;
  if (offset < 0 || bytes > capacity - offset) return "a write reaches past the end of its buffer";
  if (bytes == 0) return nullptr;
  if (untouched) {
    std::memcpy(view.data + offset, data, static_cast<size_t>(bytes));
    return nullptr;
  }
  auto* staging = static_cast<std::byte*>(std::malloc(static_cast<size_t>(bytes)));
  if (staging == nullptr) return "out of memory";
  std::memcpy(staging, data, static_cast<size_t>(bytes));
  view.data += offset;
  make_write_command(compute_.begin(), &owners_.front(), view, staging, bytes);
  compute_.publish();
  return nullptr;
}

Napi::Promise Environment::pend(uint64_t& ticket, Napi::Value keep, double pinned) {
  ticket = next_ticket_++;
  Pending pending{Napi::Promise::Deferred::New(env_), {}, pinned};
  if (!keep.IsEmpty()) pending.keep = Napi::Reference<Napi::Value>::New(keep, 1);
  if (pinned != 0) ++slot(pinned)->pins;
  if (pending_.empty()) wake_.Ref(env_);
  const Napi::Promise promise = pending.deferred.Promise();
  pending_.emplace(ticket, std::move(pending));
  return promise;
}

Napi::Promise Environment::read(const View& view, Napi::Uint8Array destination, double owner_id) {
  uint64_t ticket;
  const Napi::Promise promise = pend(ticket, destination, 0);
  make_read_command(compute_.begin(), owner(owner_id), view, reinterpret_cast<std::byte*>(destination.Data()), ticket);
  compute_.publish();
  return promise;
}

Napi::Promise Environment::fence() {
  uint64_t ticket;
  const Napi::Promise promise = pend(ticket, {}, 0);
  make_fence_command(compute_.begin(), &owners_.front(), ticket);
  compute_.publish();
  return promise;
}

Napi::Promise Environment::read_file(int file, int64_t file_offset, int64_t bytes, double handle, int64_t offset, double owner_id) {
  View view;
  resolve(handle, view);
  uint64_t ticket;
  const Napi::Promise promise = pend(ticket, {}, handle);
  make_file_command(files_.begin(), owner(owner_id), file, file_offset, bytes, view.data + offset, ticket);
  files_.publish();
  return promise;
}

void Environment::deliver() {
  Napi::HandleScope scope(env_);
  for (Stream* stream : {&compute_, &files_})
    for (const Completion& done : stream->take_completions()) {
      auto found = pending_.find(done.ticket);
      if (found == pending_.end()) continue;
      Pending pending = std::move(found->second);
      pending_.erase(found);
      if (pending.pinned != 0) {
        unpin(static_cast<uint32_t>(std::fmod(pending.pinned - 1, kIndexes)));
      }
      if (done.failure == nullptr)
        pending.deferred.Resolve(env_.Undefined());
      else
        pending.deferred.Reject(to_js(env_, *done.failure));
    }
  pool_.collect(compute_.finished());
  if (pending_.empty()) wake_.Unref(env_);
}

// --- recordings -------------------------------------------------------------------------------------------------------------------

void Environment::begin_recording() {
  tracing_ = std::make_unique<Recorded>();
  tracing_->recording = std::make_unique<Recording>();
}

/// Keeps the buffers of the command in `numbers_` that lie outside of the arena.
void Environment::pin_outside(const KernelInfo& info) {
  const double* n = numbers_;
  for (const ParameterType& type : info.types) {
    if (type.is_view && n[0] != 0) {
      Slot* s = slot(n[0]);
      if (!s->planned && tracing_->pinned.insert(static_cast<uint32_t>(s - slots_.data())).second) ++s->pins;
    }
    n += type.is_view ? 6 : 1;
  }
}

void Environment::unpin(uint32_t index) {
  Slot& s = slots_[index];
  if (--s.pins == 0 && s.released) free_slot(index);
}

double Environment::end_recording() {
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    Slot& s = slots_[index];
    if (!s.planned || s.block == nullptr) continue;
    s.released = true;
    free_slot(index);
  }
  tracing_->recording->finish();
  const double id = next_recording_++;
  recordings_.emplace(id, std::move(*tracing_));
  tracing_.reset();
  return id;
}

const Recording* Environment::recording(double id) const {
  const auto found = recordings_.find(id);
  return found == recordings_.end() ? nullptr : found->second.recording.get();
}

bool Environment::reserve_arena(int64_t bytes) {
  if (arena_ != nullptr && arena_->bytes >= bytes) return true;
  drop_arena();
  // One smaller one may be in use yet; if there are more, somebody replays ever larger recordings without waiting.
  if (pool_.discarded() > 1) {
    compute_.drain();
    pool_.collect(compute_.finished());
  }
  arena_ = pool_.take_apart(bytes);
  if (arena_ == nullptr && return_spare()) arena_ = pool_.take_apart(bytes);
  return arena_ != nullptr;
}

void Environment::drop_arena() {
  if (arena_ != nullptr) pool_.discard(arena_, arena_->bytes, arena_used_until_, compute_.finished());
  arena_ = nullptr;
}

const char* Environment::replay(double id, double owner_id) {
  Owner* who = owner(owner_id);
  const auto found = recordings_.find(id);
  if (found == recordings_.end()) return "no such recording";
  if (who == nullptr) return "no such owner";
  if (tracing_ != nullptr) return "a replay while a recording is made";
  auto& [recording, pinned, used_until] = found->second;
  if (!reserve_arena(recording->bytes())) return "out of memory";
  // Nothing of a recording may be under way while it is moved. Whoever reserves what several need before the first of them is replayed, and
  // waits for them before the next ones, never waits here.
  if (!recording->lies_at(arena_->data) && used_until > compute_.finished()) compute_.drain();
  recording->place(arena_->data);
  make_replay_command(compute_.begin(), who, *recording);
  compute_.publish();
  used_until = arena_used_until_ = compute_.published();
  return nullptr;
}

void Environment::forget_recording(double id) {
  const auto found = recordings_.find(id);
  if (found == recordings_.end()) return;
  if (found->second.used_until > compute_.finished()) compute_.drain();
  const auto pinned = std::move(found->second.pinned);
  recordings_.erase(found);
  for (uint32_t index : pinned) unpin(index);
  if (recordings_.empty()) drop_arena();
}

// --- owners -----------------------------------------------------------------------------------------------------------------------

double Environment::create_owner() {
  owners_.emplace_back();
  return static_cast<double>(owners_.size() - 1);
}

Owner* Environment::owner(double id) {
  return id >= 0 && id == std::floor(id) && id < static_cast<double>(owners_.size()) ? &owners_[static_cast<size_t>(id)] : nullptr;
}

void Environment::abort_owner(double id) {
  if (Owner* who = owner(id); who != nullptr && id != 0) who->cancelled.store(true, std::memory_order_release);
}

}  // namespace lowrank
