// A stream: a queue of commands and the native thread that runs them in order.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/context.h"
#include "core/memory.h"

namespace lowrank {

/// Why a command failed. Shared by everything that depends on it; lives as long as the stream.
struct Failure {
  const char* kernel = "";
  Status status;
  bool observed = false;  // somebody awaited something that depends on it
};

/// Who a command works for: one training, one generation, one load. Abort stops them all; a failed command of an owner stops its later
/// ones.
struct Owner {
  std::atomic<bool> cancelled{false};
  const Failure* failure = nullptr;  // stream thread only
  bool sticky = true;                // false for the owner of ordinary calls, which are independent of each other
};

/// What a finished command tells the JavaScript thread.
struct Completion {
  uint64_t ticket = 0;
  const Failure* failure = nullptr;
};

struct ProfileRow {
  const char* kernel;
  int64_t nanoseconds, flops, bytes;
  std::string shapes;
};

class Stream;

/// A command is plain data: a function and its argument block.
struct Command {
  void (*execute)(Stream&, Command&) = nullptr;
  const void* info = nullptr;  // KernelInfo of kernel commands
  Owner* owner = nullptr;
  std::byte* scratch = nullptr;
  static constexpr size_t kArgumentBytes = 832, kArgumentAlignment = 16;
  alignas(kArgumentAlignment) std::byte args[kArgumentBytes];
};

class Stream {
 public:
  /// `notify` is called on the stream thread when completions wait to be taken, once until they are taken.
  explicit Stream(std::function<void()> notify);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// The next free slot of the queue, to be filled and then published. Waits while the queue is full. JavaScript thread only.
  Command& begin();
  void publish();

  /// Commands published so far, and of these the finished ones. JavaScript thread only.
  uint64_t published() const { return published_.load(std::memory_order_relaxed); }
  uint64_t finished() const { return finished_.load(std::memory_order_acquire); }

  /// Waits until everything published has run. For the rare case that memory must be returned to the system.
  void drain();

  /// Lets the running command finish or see its abort flag, runs no other, joins the thread. Called once, before the environment goes.
  void stop();

  std::vector<Completion> take_completions();

  // --- on the stream thread ---------------------------------------------------------------------------------------------------
  /// The failure that keeps a command from running: its owner's, or that of a view it reads.
  const Failure* owner_failure(Owner& owner);
  static const Failure* mark_of(const View& view);
  static void mark(const View& view, const Failure* failure, bool in_place);
  const Failure* fail(Owner& owner, const char* kernel, Status status);
  void complete(uint64_t ticket, const Failure* failure);
  /// A failure that nobody has seen yet, if there is one; it is seen now.
  const Failure* take_unobserved();

  // --- profiling: written on the stream thread between start and stop, both of which are called while the stream is drained ------
  std::vector<ProfileRow>* profile = nullptr;

 private:
  static constexpr uint64_t kSlots = 2048;

  void loop();

  std::function<void()> notify_;
  std::vector<Command> ring_;
  // Each side first announces that it sleeps (or waits) and then looks at the other's counter; the other first counts and then looks for
  // the announcement. In the one order of sequentially consistent operations one of the two sees the other: no wake-up is lost, and the
  // mutex is taken only for somebody who sleeps. All announce and count by read-modify-write: emulators of ARM on x86 (QEMU 7.2) let a load
  // pass an earlier plain store although both are sequentially consistent, and then both sides sleep.
  std::atomic<uint64_t> published_{0}, finished_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable work_, room_;
  std::atomic<bool> sleeping_{false}, waiting_{false};
  std::thread thread_;

  std::mutex completions_mutex_;
  std::vector<Completion> completions_;

  std::deque<Failure> failures_;
};

}  // namespace lowrank
