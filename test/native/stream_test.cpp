#include "core/stream.h"

#include <cstring>
#include <thread>

#include "expect.h"
#include "kernels/command.h"

using namespace lowrank;

namespace {

/// A command that calls a function of the test with a number.
struct Call {
  void (*function)(void*, int64_t);
  void* context;
  int64_t number;
};

void execute_call(Stream& stream, Command& command) {
  Call call;
  std::memcpy(&call, command.args, sizeof call);
  if (stream.owner_failure(*command.owner) == nullptr) call.function(call.context, call.number);
}

/// One environment: a pool, a stream that counts its notifications, the owner of ordinary calls, and values in the pool's memory.
struct Engine {
  std::atomic<int> notifications{0};
  Pool pool;
  Owner ordinary;
  std::vector<std::pair<Block*, int64_t>> blocks;
  Stream stream{[this] { ++notifications; }};

  Engine() {
    ordinary.sticky = false;
    select_backend(kernel_table(best_backend()));
  }
  ~Engine() {
    stream.stop();
    for (const auto& [block, bytes] : blocks) pool.give_back(block, bytes, 0);
  }

  template <class Function>
  void call(Owner& owner, Function* function, int64_t number) {
    Command& command = stream.begin();
    command.execute = execute_call;
    command.owner = &owner;
    const Call call{[](void* f, int64_t n) { (*static_cast<Function*>(f))(n); }, function, number};
    std::memcpy(command.args, &call, sizeof call);
    stream.publish();
  }

  template <class T>
  View values(std::vector<T> data, int64_t rows, int64_t cols) {
    const auto bytes = static_cast<int64_t>(data.size() * sizeof(T));
    Block* block = pool.take(bytes);
    blocks.emplace_back(block, bytes);
    std::memcpy(block->data, data.data(), static_cast<size_t>(bytes));
    View view = view_of<In>(reinterpret_cast<T*>(block->data), rows, cols);
    view.block = block, view.incarnation = block->incarnation;
    return view;
  }

  /// Submits a kernel by name; its arguments stand in `args` as the kernel's argument struct lays them out.
  void kernel(Owner& owner, const char* name, const std::vector<std::pair<View, double>>& numbers);
};

/// Resolves the handles 1, 2, … to the views of one call.
struct Handles final : BufferTable {
  std::vector<View> views;
  int64_t resolve(double handle, View& view) const override {
    if (handle < 1 || handle > static_cast<double>(views.size())) return -1;
    const View& found = views[static_cast<size_t>(handle) - 1];
    view.data = found.data, view.block = found.block, view.incarnation = found.incarnation;
    return found.block->bytes;
  }
};

void Engine::kernel(Owner& owner, const char* name, const std::vector<std::pair<View, double>>& arguments) {
  const auto& infos = kernel_infos();
  size_t index = 0;
  while (std::strcmp(infos[index].name, name) != 0) ++index;
  Handles handles;
  std::vector<double> numbers;
  for (const auto& [view, number] : arguments) {
    if (!view) {
      numbers.push_back(number);
      continue;
    }
    handles.views.push_back(view);
    const auto handle = static_cast<double>(handles.views.size());
    for (const double n : {handle, static_cast<double>(view.dtype), 0.0, static_cast<double>(view.rows), static_cast<double>(view.cols),
                           static_cast<double>(view.ld)})
      numbers.push_back(n);
  }
  EXPECT_EQUAL(static_cast<int>(numbers.size()), infos[index].numbers);
  Command& command = stream.begin();
  const char* error = decode(infos[index], handles, numbers.data(), command.args);
  if (error != nullptr) test::fail(__FILE__, __LINE__, error);
  make_kernel_command(command, infos[index], &owner, nullptr);
  stream.publish();
}

std::pair<View, double> number(double value) { return {View{}, value}; }
std::pair<View, double> view(const View& v) { return {v, 0}; }

}  // namespace

TEST(stream_runs_commands_in_order_more_of_them_than_its_queue_holds) {
  Engine engine;
  int64_t next = 0, misplaced = 0;
  auto record = [&](int64_t n) { misplaced += n == next++ ? 0 : 1; };
  for (int64_t i = 0; i < 10'000; ++i) engine.call(engine.ordinary, &record, i);
  engine.stream.drain();
  EXPECT_EQUAL(next, 10'000);
  EXPECT_EQUAL(misplaced, 0);
}

TEST(stream_wakes_up_after_every_sleep) {
  Engine engine;
  int64_t runs = 0;
  auto count = [&](int64_t) { ++runs; };
  for (int64_t i = 1; i <= 300; ++i) {
    engine.call(engine.ordinary, &count, i);
    engine.stream.drain();
    EXPECT_EQUAL(runs, i);
    if (i % 10 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST(stream_stop_lets_the_running_command_finish_and_runs_no_other_after_it) {
  for (int round = 0; round < 20; ++round) {
    Engine engine;
    std::atomic<bool> open{false};
    std::atomic<int64_t> started{0}, finished{0}, misplaced{0};
    auto wait = [&](int64_t n) {
      misplaced += started++ == n ? 0 : 1;
      while (!open.load()) std::this_thread::yield();
      ++finished;
    };
    for (int64_t i = 0; i < 50; ++i) engine.call(engine.ordinary, &wait, i);
    while (started.load() == 0) std::this_thread::yield();
    std::thread opener([&] { open.store(true); });
    engine.stream.stop();
    const int64_t at_stop = finished.load();
    opener.join();
    EXPECT(at_stop >= 1);
    EXPECT_EQUAL(started.load(), at_stop);
    EXPECT_EQUAL(finished.load(), at_stop);
    EXPECT_EQUAL(misplaced.load(), 0);
  }
}

TEST(stream_that_never_got_a_command_stops_at_once) {
  Engine engine;
  engine.stream.drain();
  engine.stream.stop();
}

TEST(stream_completions_come_once_each_in_order_with_one_notification_until_they_are_taken) {
  Engine engine;
  auto complete = [&](int64_t ticket) { engine.stream.complete(static_cast<uint64_t>(ticket), nullptr); };
  for (int64_t ticket = 1; ticket <= 100; ++ticket) engine.call(engine.ordinary, &complete, ticket);
  engine.stream.drain();
  EXPECT_EQUAL(engine.notifications.load(), 1);
  const std::vector<Completion> taken = engine.stream.take_completions();
  EXPECT_EQUAL(taken.size(), size_t{100});
  for (size_t i = 0; i < taken.size(); ++i) EXPECT_EQUAL(taken[i].ticket, uint64_t{i + 1});
  EXPECT(engine.stream.take_completions().empty());
  engine.call(engine.ordinary, &complete, 101);
  engine.stream.drain();
  EXPECT_EQUAL(engine.notifications.load(), 2);
}

TEST(stream_an_aborted_owner_s_commands_are_skipped_others_run) {
  Engine engine;
  Owner training;
  int64_t runs = 0;
  auto add = [&](int64_t n) { runs += n; };
  engine.call(training, &add, 1);
  engine.stream.drain();
  training.cancelled.store(true);
  engine.call(training, &add, 10);
  engine.call(engine.ordinary, &add, 100);
  engine.call(training, &add, 1000);
  engine.stream.drain();
  EXPECT_EQUAL(runs, 101);
  EXPECT(training.failure->status.code == Code::cancelled);
  EXPECT(engine.stream.take_unobserved() == nullptr);
}

TEST(stream_a_kernel_s_failure_marks_its_outputs_and_what_reads_them_is_skipped_and_marked) {
  Engine engine;
  const View logits = engine.values<float>({1, 2, 3, 4}, 2, 2), labels = engine.values<int32_t>({0, 7}, 2, 1);
  const View loss = engine.values<float>({-1}, 1, 1), lse = engine.values<float>({0, 0}, 2, 1), count = engine.values<float>({0}, 1, 1);
  const View doubled = engine.values<float>({-1}, 1, 1), unrelated = engine.values<float>({-1}, 1, 1),
             one = engine.values<float>({1}, 1, 1);
  engine.kernel(engine.ordinary, "cross_entropy_forward",
                {view(loss), view(lse), view(count), view(logits), view(labels), number(-100), number(1)});
  engine.kernel(engine.ordinary, "scale", {view(doubled), view(loss), number(2)});
  engine.kernel(engine.ordinary, "scale", {view(unrelated), view(one), number(2)});
  engine.stream.drain();
  const Failure* failure = Stream::mark_of(loss);
  EXPECT(failure != nullptr);
  EXPECT(failure->status.code == Code::index_out_of_range);
  EXPECT_EQUAL(failure->status.found, 7);
  EXPECT_EQUAL(std::string(failure->kernel), "cross_entropy_forward");
  EXPECT_EQUAL(Stream::mark_of(doubled), failure);
  EXPECT_EQUAL(*doubled.row<float>(0), -1.0f);
  EXPECT(Stream::mark_of(unrelated) == nullptr);
  EXPECT_EQUAL(*unrelated.row<float>(0), 2.0f);
  EXPECT_EQUAL(engine.stream.take_unobserved(), failure);
  EXPECT(engine.stream.take_unobserved() == nullptr);
}

TEST(stream_a_failure_leaves_weights_unwritten_and_unmarked) {
  Engine engine;
  Owner training;
  const View weights = engine.values<float>({5}, 1, 1), gradient = engine.values<float>({1}, 1, 1);
  weights.block->state = true;
  training.cancelled.store(true);
  engine.kernel(training, "accumulate", {view(weights), view(gradient)});
  engine.stream.drain();
  EXPECT_EQUAL(*weights.row<float>(0), 5.0f);
  EXPECT(Stream::mark_of(weights) == nullptr);
  engine.kernel(engine.ordinary, "accumulate", {view(weights), view(gradient)});
  engine.stream.drain();
  EXPECT_EQUAL(*weights.row<float>(0), 6.0f);
}

TEST(stream_a_mark_does_not_outlive_the_use_of_its_block) {
  Engine engine;
  Block* block = engine.pool.take(64);
  View first = view_of<In>(reinterpret_cast<float*>(block->data), 1, 1);
  first.block = block, first.incarnation = block->incarnation;
  const Failure failure;
  Stream::mark(first, &failure, false);
  EXPECT_EQUAL(Stream::mark_of(first), &failure);
  engine.pool.give_back(block, 64, 0);
  Block* again = engine.pool.take(64);
  EXPECT_EQUAL(again, block);
  View second = first;
  second.incarnation = again->incarnation;
  EXPECT(Stream::mark_of(second) == nullptr);
  engine.pool.give_back(again, 64, 0);
}

TEST(stream_several_at_once_share_the_pool_and_do_not_mix) {
  constexpr int64_t kRows = 64, kCols = 256;
  std::vector<std::thread> threads;
  std::vector<int64_t> wrong(3);
  for (size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&, t] {
      Engine engine;
      const View x = engine.values<float>(std::vector<float>(kRows * kCols, static_cast<float>(t + 1)), kRows, kCols);
      const View y = engine.values<float>(std::vector<float>(kRows * kCols, 0.0f), kRows, kCols);
      for (int step = 0; step < 200; ++step) engine.kernel(engine.ordinary, "accumulate", {view(y), view(x)});
      engine.stream.drain();
      for (int64_t i = 0; i < kRows * kCols; ++i) wrong[t] += y.row<float>(0)[i] == 200.0f * static_cast<float>(t + 1) ? 0 : 1;
    });
  for (std::thread& thread : threads) thread.join();
  for (const int64_t count : wrong) EXPECT_EQUAL(count, 0);
}
