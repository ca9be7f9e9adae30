// Contenders: the product of another library, found at run time, in the place of ours. Every row then runs and verifies as it is.
#include <dlfcn.h>

#include <stdexcept>

#include "core/cpu_features.h"
#include "harness.h"

namespace bench {

namespace {

using namespace lowrank;

/// c[m, n] = op(a) op(b), row by row; 'T': transposed.
using Sgemm = void (*)(char op_a, char op_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
                       float* c, int64_t ldc);
Sgemm product;
void (*set_threads)(int);

void (*cblas_sgemm)(int order, int op_a, int op_b, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb,
                    float beta, float* c, int ldc);
int (*dnnl_sgemm)(char op_a, char op_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda, const float* b,
                  int64_t ldb, float beta, float* c, int64_t ldc);

void by_openblas(char op_a, char op_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                 int64_t ldc) {
  constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
  const auto op = [](char letter) { return letter == 'T' ? kTransposed : kPlain; };
  const auto i = [](int64_t n) { return static_cast<int>(n); };
  cblas_sgemm(kRowMajor, op(op_a), op(op_b), i(m), i(n), i(k), 1, a, i(lda), b, i(ldb), 0, c, i(ldc));
}

void by_onednn(char op_a, char op_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
               int64_t ldc) {
  if (dnnl_sgemm(op_a, op_b, m, n, k, 1, a, lda, b, ldb, 0, c, ldc) != 0) throw std::runtime_error("dnnl_sgemm failed");
}

Status multiply(Context& ctx, char op_a, char op_b, const View& c, const View& a, const View& b) {
  set_threads(ctx.threads());
  const int64_t k = op_a == 'T' ? a.rows : a.cols;
  product(op_a, op_b, c.rows, c.cols, k, a.row<const float>(0), a.ld, b.row<const float>(0), b.ld, c.row<float>(0), c.ld);
  return {};
}

Status linear_forward(Context& ctx, Out y, In x, In w, In) { return multiply(ctx, 'N', 'T', y, x, w); }

Status linear_backward(Context& ctx, Out dx, Out dw, Out, In dy, In x, In w) {
  if (dx) multiply(ctx, 'N', 'N', dx, dy, w);
  if (dw) multiply(ctx, 'T', 'N', dw, dy, x);
  return {};
}

/// A library and one of its functions. The library stays open.
template <class Function>
void find(Function& function, const char* library, const char* name, const std::string& install) {
#if defined(__x86_64__)
  // An OpenBLAS that is older than the processor takes slower kernels than it has.
  if (lowrank::cpu_features().avx512) setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
#endif
  void* opened = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
  function = opened ? reinterpret_cast<Function>(dlsym(opened, name)) : nullptr;
  if (!function) throw std::runtime_error(std::string(library) + " with " + name + " was not found. On Debian: apt install " + install);
}

}  // namespace

bool is_blas(const std::string& name) { return name == "openblas" || name == "onednn"; }

Subject blas_subject(const std::string& name) {
  static KernelTable table = *kernel_table("scalar");
  std::string version;
  if (name == "openblas") {
    const char *library = "libopenblas.so.0", *package = "libopenblas0-pthread";
    const char* (*config)() = nullptr;
    find(cblas_sgemm, library, "cblas_sgemm", package);
    find(set_threads, library, "openblas_set_num_threads", package);
    find(config, library, "openblas_get_config", package);
    product = by_openblas, version = config();
  } else {
    find(dnnl_sgemm, "libdnnl.so.2", "dnnl_sgemm", "libdnnl2");
    find(set_threads, "libgomp.so.1", "omp_set_num_threads", "libgomp1");
    struct Version {
      int major, minor, patch;
    };
    const Version* (*get_version)() = nullptr;
    find(get_version, "libdnnl.so.2", "dnnl_version", "libdnnl2");
    const Version& v = *get_version();
    product = by_onednn, version = std::to_string(v.major) + "." + std::to_string(v.minor) + "." + std::to_string(v.patch);
  }
  table.linear_forward = linear_forward;
  table.linear_backward = linear_backward;
  Subject subject;
  subject.table = &table, subject.only_products = true, subject.version = version;
  return subject;
}

}  // namespace bench
