#include "core/stream.h"

#if defined(__linux__)
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace lowrank {

namespace {

constexpr int kSpins = 2000;

void lower_priority() {
#if defined(__linux__)
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 5);
#endif
}

}  // namespace

Stream::Stream(std::function<void()> notify) : notify_(std::move(notify)), ring_(kSlots) {}

Stream::~Stream() { stop(); }

Command& Stream::begin() {
  const uint64_t next = published_.load(std::memory_order_relaxed);
  if (next - finished_.load(std::memory_order_acquire) >= kSlots) {
    std::unique_lock lock(mutex_);
    waiting_.exchange(true);
    room_.wait(lock, [&] { return next - finished_.load() < kSlots || stopping_.load(); });
    waiting_.store(false);
  }
  return ring_[next % kSlots];
}

void Stream::publish() {
  if (!thread_.joinable() && !stopping_.load()) thread_ = std::thread([this] { loop(); });
  published_.fetch_add(1);
  if (!sleeping_.load()) return;
  std::lock_guard lock(mutex_);
  work_.notify_one();
}

void Stream::drain() {
  std::unique_lock lock(mutex_);
  waiting_.exchange(true);
  room_.wait(lock, [&] { return finished_.load() == published_.load() || stopping_.load(); });
  waiting_.store(false);
}

void Stream::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_.store(true);
    work_.notify_all();
    room_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Stream::loop() {
  flush_subnormals();
  lower_priority();
  uint64_t next = finished_.load();
  for (;;) {
    for (int spin = 0; spin < kSpins && published_.load(std::memory_order_acquire) == next; ++spin) {
    }
    if (published_.load() == next) {
      std::unique_lock lock(mutex_);
      sleeping_.exchange(true);
      work_.wait(lock, [&] { return published_.load() != next || stopping_.load(); });
      sleeping_.store(false);
    }
    if (stopping_.load()) return;
    Command& command = ring_[next % kSlots];
    command.execute(*this, command);
    finished_.fetch_add(1), ++next;
    if (!waiting_.load()) continue;
    std::lock_guard lock(mutex_);
    room_.notify_all();
  }
}

std::vector<Completion> Stream::take_completions() {
  std::lock_guard lock(completions_mutex_);
  return std::exchange(completions_, {});
}

void Stream::complete(uint64_t ticket, const Failure* failure) {
  if (failure != nullptr) const_cast<Failure*>(failure)->observed = true;
  bool first;
  {
    std::lock_guard lock(completions_mutex_);
    first = completions_.empty();
    completions_.push_back({ticket, failure});
  }
  if (first) notify_();
}

const Failure* Stream::owner_failure(Owner& owner) {
  if (owner.failure != nullptr) return owner.failure;
  if (!owner.cancelled.load(std::memory_order_acquire)) return nullptr;
  return fail(owner, "", Status{Code::cancelled});
}

const Failure* Stream::fail(Owner& owner, const char* kernel, Status status) {
  failures_.push_back({kernel, status, false});
  const Failure* failure = &failures_.back();
  // An abort is not news to anybody: only real failures wait to be observed.
  if (status.code == Code::cancelled) failures_.back().observed = true;
  if (owner.sticky) owner.failure = failure;
  return failure;
}

const Failure* Stream::mark_of(const View& view) {
  const Block* block = view.block;
  return block != nullptr && block->failure != nullptr && block->failed_incarnation == view.incarnation ? block->failure : nullptr;
}

void Stream::mark(const View& view, const Failure* failure, bool in_place) {
  Block* block = view.block;
  if (block == nullptr || (in_place && block->state)) return;
  block->failure = failure;
  block->failed_incarnation = view.incarnation;
}

const Failure* Stream::take_unobserved() {
  for (Failure& failure : failures_)
    if (!failure.observed) {
      failure.observed = true;
      return &failure;
    }
  return nullptr;
}

}  // namespace lowrank
