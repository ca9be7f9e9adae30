// What happens after the gradients: loss, norm, gate, Adam and SGD against float64 and the formulas of torch.optim.
#include <limits>

#include "core/step_record.h"
#include "oracle.h"

using namespace test;

namespace {

InOut writable(StepRecord& record) { return view_of<InOut>(reinterpret_cast<uint8_t*>(&record), 1, sizeof record); }

StepRecord fresh_record() {
  StepRecord record{};
  record.first_bad = -1, record.gradient_divisor = 1;
  return record;
}

double at(const Matrix<float>& m, int64_t i) { return static_cast<double>(m.at(0, i)); }

bool equal(const Matrix<float>& a, const Matrix<float>& b) {
  for (int64_t c = 0; c < a.cols(); ++c)
    if (bits_of(a.at(0, c)) != bits_of(b.at(0, c))) return false;
  return true;
}

/// A step of training with everything switched on.
StepRecord busy_record(uint32_t step, double beta1, double beta2) {
  StepRecord record = fresh_record();
  record.step = step, record.learning_rate = 3e-3f, record.weight_decay = 0.1f, record.clip_factor = 0.37f;
  record.bias_correction1 = static_cast<float>(1 - std::pow(beta1, step + 1));
  record.bias_correction2 = static_cast<float>(1 - std::pow(beta2, step + 1));
  return record;
}

constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
// What the kernel takes: 1 - beta, rounded once.
constexpr float kRate1 = static_cast<float>(1 - kBeta1), kRate2 = static_cast<float>(1 - kBeta2), kEps = 1e-8f;

struct AdamState {
  double w, m, v;
};

/// One element of torch.optim.Adam (decay added to the gradient) or AdamW (weights shrink first), in float64.
AdamState adam_step(AdamState s, double gradient, const StepRecord& record, bool decays, bool decoupled) {
  const double rate = record.learning_rate, decay = decays ? record.weight_decay : 0;
  double g = record.clip_factor * gradient;
  if (decoupled) s.w *= 1 - rate * decay;
  if (!decoupled) g += decay * s.w;
  s.m = kBeta1 * s.m + (1 - kBeta1) * g;
  s.v = kBeta2 * s.v + (1 - kBeta2) * g * g;
  const double denominator = std::sqrt(s.v) / std::sqrt(static_cast<double>(record.bias_correction2)) + static_cast<double>(kEps);
  s.w -= rate / record.bias_correction1 * s.m / denominator;
  return s;
}

void check_adam(const Setup& setup, int64_t n, int32_t decayed, bool decoupled) {
  StepRecord record = busy_record(4, kBeta1, kBeta2);
  Matrix<float> w(setup, 1, n), m(setup, 1, n), v(setup, 1, n), g(setup, 1, n), w0(setup, 1, n), m0(setup, 1, n), v0(setup, 1, n);
  w.randomize(1), m.randomize(2, -0.1f, 0.1f), v.randomize(3, 0, 0.02f), g.randomize(4, -2, 2);
  w0.randomize(1), m0.randomize(2, -0.1f, 0.1f), v0.randomize(3, 0, 0.02f);
  RUN_OK_K(setup, adam, w, m, v, g, writable(record), decayed, decoupled, kRate1, kRate2, kEps);
  Mat expected_w(1, n), expected_m(1, n), expected_v(1, n);
  for (int64_t i = 0; i < n; ++i) {
    const AdamState before{at(w0, i), at(m0, i), at(v0, i)}, after = adam_step(before, at(g, i), record, i < decayed, decoupled);
    const double gradient = std::abs(record.clip_factor * at(g, i)) + (i < decayed && !decoupled ? 0.1 * std::abs(before.w) : 0);
    expected_w(0, i) = after.w, expected_m(0, i) = after.m, expected_v(0, i) = after.v;
    const double error_m = 4 * kUnit * (0.1 * (gradient + std::abs(before.m)) + std::abs(after.m));
    const double error_v = 4 * kUnit * (0.001 * (gradient * gradient + before.v) + after.v),
                 rate = record.learning_rate / record.bias_correction1;
    const double denominator = std::sqrt(after.v / record.bias_correction2) + 1e-8, update = std::abs(after.w - before.w);
    expected_m.bound(0, i) = error_m + kTiny;
    expected_v.bound(0, i) = error_v + kTiny;
    expected_w.bound(0, i) = 4 * ulp(before.w) + rate * error_m / denominator + update * (8 * kUnit + error_v / (2 * after.v));
  }
  const std::string what = text("adam of ", n, decoupled ? " decoupled, " : ", ", decayed, " decayed, on ", setup.name());
  EXPECT_MATRIX(what + " w", w, expected_w);
  EXPECT_MATRIX(what + " m", m, expected_m);
  EXPECT_MATRIX(what + " v", v, expected_v);
}

struct SgdState {
  double w, buffer;
};

/// One element of torch.optim.SGD, in float64.
SgdState sgd_step(SgdState s, double gradient, const StepRecord& record, bool decays, double momentum, bool nesterov) {
  double g = record.clip_factor * gradient + (decays ? record.weight_decay * s.w : 0);
  if (momentum != 0) {
    s.buffer = record.step == 0 ? g : momentum * s.buffer + g;
    g = nesterov ? g + momentum * s.buffer : s.buffer;
  }
  s.w -= record.learning_rate * g;
  return s;
}

void check_sgd(const Setup& setup, int64_t n, uint32_t step, float momentum, bool nesterov) {
  const auto decayed = static_cast<int32_t>(n / 2);
  StepRecord record = busy_record(step, kBeta1, kBeta2);
  Matrix<float> w(setup, 1, n), buffer(setup, 1, n), g(setup, 1, n), w0(setup, 1, n), buffer0(setup, 1, n);
  w.randomize(1), buffer.randomize(2), g.randomize(3), w0.randomize(1), buffer0.randomize(2);
  RUN_OK_K(setup, sgd, w, momentum != 0 ? InOut(buffer) : InOut{}, g, writable(record), decayed, momentum, nesterov);
  Mat expected_w(1, n), expected_buffer(1, n);
  for (int64_t i = 0; i < n; ++i) {
    const SgdState before{at(w0, i), at(buffer0, i)};
    const SgdState after = sgd_step(before, at(g, i), record, i < decayed, static_cast<double>(momentum), nesterov);
    const double terms = std::abs(record.clip_factor * at(g, i)) + 0.1 * std::abs(before.w) + std::abs(before.buffer);
    expected_w(0, i) = after.w, expected_w.bound(0, i) = 4 * ulp(before.w) + record.learning_rate * 16 * kUnit * terms;
    expected_buffer(0, i) = after.buffer, expected_buffer.bound(0, i) = 8 * kUnit * terms + kTiny;
  }
  const std::string what = text("sgd of ", n, " step ", step, " momentum ", momentum, nesterov ? " nesterov on " : " on ", setup.name());
  EXPECT_MATRIX(what + " w", w, expected_w);
  if (momentum != 0) EXPECT_MATRIX(what + " buffer", buffer, expected_buffer);
}

const std::vector<int64_t> kLengths = {0, 1, 3, 7, 8, 9, 17, 33, 64, 1000, 40001};

}  // namespace

TEST(training_adam) {
  for (const Setup& setup : setups())
    for (int64_t n : kLengths)
      for (int64_t decayed : {int64_t{0}, n / 2, n})
        for (bool decoupled : {false, true}) check_adam(setup, n, static_cast<int32_t>(decayed), decoupled);
}

// 1,000 steps stay within 1e-5 of the float64 run.
TEST(training_adam_does_not_drift) {
  const int64_t n = 33;
  for (const Setup& setup : setups()) {
    for (bool decoupled : {false, true}) {
      Matrix<float> w(setup, 1, n), m(setup, 1, n), v(setup, 1, n), g(setup, 1, n);
      w.randomize(1, 1, 2), m.fill(0), v.fill(0);
      std::vector<AdamState> exact;
      for (int64_t i = 0; i < n; ++i) exact.push_back({at(w, i), 0, 0});
      for (uint32_t step = 0; step < 1000; ++step) {
        StepRecord record = busy_record(step, kBeta1, kBeta2);
        record.learning_rate = 1e-3f, record.weight_decay = 0.01f;
        g.randomize(step, -1, 2);
        Context context{pool_of(2), nullptr, nullptr};
        setup.table->adam(context, w, m, v, g, writable(record), 20, decoupled, kRate1, kRate2, kEps);
        for (int64_t i = 0; i < n; ++i)
          exact[static_cast<size_t>(i)] = adam_step(exact[static_cast<size_t>(i)], at(g, i), record, i < 20, decoupled);
      }
      for (int64_t i = 0; i < n; ++i) {
        const double expected = exact[static_cast<size_t>(i)].w;
        CHECK(std::abs(at(w, i) - expected) <= 1e-5 * std::max(1.0, std::abs(expected)), setup.name(), ": ", at(w, i), " for ", expected);
      }
    }
  }
}

TEST(training_sgd) {
  for (const Setup& setup : setups()) {
    for (int64_t n : kLengths) {
      for (uint32_t step : {0u, 3u}) {
        check_sgd(setup, n, step, 0, false);
        check_sgd(setup, n, step, 0.9f, false);
        check_sgd(setup, n, step, 0.9f, true);
      }
    }
  }
}

TEST(training_update_changes_nothing_when_halted) {
  for (const Setup& setup : setups()) {
    StepRecord record = busy_record(4, kBeta1, kBeta2);
    record.halted = 1;
    Matrix<float> w(setup, 1, 100), m(setup, 1, 100), v(setup, 1, 100), g(setup, 1, 100), before(setup, 1, 100);
    w.randomize(1), m.randomize(1), v.randomize(1), before.randomize(1), g.fill(NAN);
    RUN_OK_K(setup, adam, w, m, v, g, writable(record), 50, true, kRate1, kRate2, kEps);
    CHECK(equal(w, before) && equal(m, before) && equal(v, before), setup.name());
    RUN_OK_K(setup, sgd, w, m, g, writable(record), 50, 0.9f, false);
    CHECK(equal(w, before) && equal(m, before), setup.name());
    CHECK(record.steps_done == 0, setup.name());
  }
}

// An aborted owner's update still runs whole: half a step would be worse than none.
TEST(training_update_runs_whole_when_cancelled) {
  const int64_t n = 100000;
  for (const Setup& setup : setups()) {
    StepRecord record = busy_record(4, kBeta1, kBeta2);
    Matrix<float> w(setup, 1, n), m(setup, 1, n), v(setup, 1, n), g(setup, 1, n), w2(setup, 1, n), m2(setup, 1, n), v2(setup, 1, n);
    for (auto* x : {&w, &w2}) x->randomize(1);
    for (auto* x : {&m, &m2}) x->randomize(2);
    for (auto* x : {&v, &v2}) x->randomize(3, 0, 1);
    g.randomize(4);
    CHECK(CANCELLED_K(setup, adam, w, m, v, g, writable(record), 50, true, kRate1, kRate2, kEps).ok(), setup.name());
    CHECK(record.steps_done == 5, setup.name());
    record.steps_done = 0;
    RUN_OK_K(setup, adam, w2, m2, v2, g, writable(record), 50, true, kRate1, kRate2, kEps);
    CHECK(equal(w, w2) && equal(m, m2) && equal(v, v2), setup.name());
    CHECK(CANCELLED_K(setup, sgd, w, m, g, writable(record), 50, 0.9f, true).ok(), setup.name());
    CHECK(record.steps_done == 5, setup.name());
    RUN_OK_K(setup, sgd, w2, m2, g, writable(record), 50, 0.9f, true);
    CHECK(equal(w, w2) && equal(m, m2), setup.name());
  }
}

TEST(training_record_loss) {
  for (const Setup& setup : setups()) {
    StepRecord record = fresh_record();
    Matrix<float> loss(setup, 1, 1);
    record.loss_sum = 2;
    RUN_OK_K(setup, record_loss, writable(record), loss.fill(1.5f));
    CHECK(record.loss_sum == 3.5 && record.halted == 0 && record.first_bad == -1, setup.name(), " ", record.loss_sum);
    for (float bad : {NAN, std::numeric_limits<float>::infinity()}) {
      StepRecord halted = fresh_record();
      RUN_OK_K(setup, record_loss, writable(halted), loss.fill(bad));
      CHECK(halted.halted == 1 && halted.first_bad == -1 && !std::isfinite(halted.loss_sum), setup.name());
    }
  }
}

TEST(training_grad_squares) {
  for (const Setup& setup : setups()) {
    for (int64_t n : kLengths) {
      Matrix<float> g(setup, 1, n);
      g.randomize(1, -1e3f, 1e3f);
      StepRecord record = fresh_record();
      record.grad_squares = 7;
      RUN_OK_K(setup, grad_squares, writable(record), g, 5);
      double expected = 7;
      for (int64_t i = 0; i < n; ++i) expected += at(g, i) * at(g, i);
      CHECK(std::abs(record.grad_squares - expected) <= 1e-13 * expected, setup.name(), " ", record.grad_squares, " for ", expected);
      CHECK(record.halted == 0 && record.first_bad == -1, setup.name());
    }
    Matrix<float> large(setup, 3, 50);
    StepRecord record = fresh_record();
    RUN_OK_K(setup, grad_squares, writable(record), large.fill(1e30f), 0);
    CHECK(std::abs(record.grad_squares / 1.5e62 - 1) < 1e-6 && record.halted == 0, setup.name(), ": squares beyond f32 ",
          record.grad_squares);
  }
}

TEST(training_grad_squares_names_the_first_bad_element) {
  for (const Setup& setup : setups()) {
    for (int64_t first : {0, 1, 7, 33, 40000, 69999}) {
      for (float bad : {NAN, -std::numeric_limits<float>::infinity()}) {
        Matrix<float> g(setup, 7, 10000);
        g.randomize(1);
        g.at(first / 10000, first % 10000) = bad, g.at(6, 9999) = NAN;
        StepRecord record = fresh_record();
        RUN_OK_K(setup, grad_squares, writable(record), g, 1000);
        CHECK(record.halted == 1 && record.first_bad == 1000 + first, setup.name(), ": ", record.first_bad, " for ", 1000 + first);
        RUN_OK_K(setup, grad_squares, writable(record), g, 200000);
        CHECK(record.first_bad == 1000 + first, setup.name(), ": a later gradient took the place of the first");
      }
    }
  }
}

TEST(training_step_gate) {
  for (const Setup& setup : setups()) {
    for (double divisor : {1.0, 8.0, 0.5}) {
      for (double max_norm : {0.0, 1.0, 1e6}) {
        StepRecord record = fresh_record();
        record.grad_squares = 36, record.gradient_divisor = static_cast<float>(divisor),
        record.max_grad_norm = static_cast<float>(max_norm);
        RUN_OK_K(setup, step_gate, writable(record));
        const double norm = 6 / divisor, clip = max_norm > 0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1;
        CHECK(std::abs(static_cast<double>(record.grad_norm) - norm) <= 2 * kUnit * norm, setup.name(), " norm ", record.grad_norm);
        CHECK(std::abs(static_cast<double>(record.clip_factor) - clip / divisor) <= 4 * kUnit * clip / divisor, setup.name(), " clip ",
              record.clip_factor);
        CHECK(record.halted == 0, setup.name());
      }
    }
    for (double squares : {static_cast<double>(NAN), static_cast<double>(INFINITY), 1e300}) {
      StepRecord record = fresh_record();
      record.grad_squares = squares;
      RUN_OK_K(setup, step_gate, writable(record));
      CHECK(record.halted == 1, setup.name(), " squares ", squares);
    }
    StepRecord nothing = fresh_record();
    nothing.gradient_divisor = 0;
    RUN_OK_K(setup, step_gate, writable(nothing));
    CHECK(nothing.halted == 1, setup.name(), ": a divisor of zero");
  }
}
