// Matrix products: the linear layer and the batched product.
#include "kernels/scalar/kernels.h"
#include "kernels/scalar/products.h"
#include "kernels/scalar/sums.h"

namespace lowrank::scalar {

// y = x w^T + bias
Status linear_forward(Context& ctx, Out y, In x, In w, In bias) { return product_nt(ctx, y, x, w, bias, 1.0f, false); }

int64_t linear_forward_scratch(int, Out, In, In, In) { return 0; }

// dx = dy w; dw = dy^T x; dbias = column sums of dy
Status linear_backward(Context& ctx, Out dx, Out dw, Out dbias, In dy, In x, In w) {
  Status status;
  if (dx) status = product_nn(ctx, dx, dy, w, 1.0f, false);
  if (dw && status.ok()) status = product_tn(ctx, dw, dy, x, 1.0f, false);
  if (dbias && status.ok())
    status = column_sums(ctx, dbias, dy.rows, 1.0f, [&](int64_t r, int64_t c) { return dy.row<const float>(r)[c]; });
  return status;
}

int64_t linear_backward_scratch(int, Out, Out, Out, In, In, In) { return 0; }

// matrix by matrix: NN c = a b; NT c = a b^T; TN c = a^T b
Status matmul(Context& ctx, Out c, In a, In b, i32 batch, i32 form) {
  for (int64_t i = 0; i < batch; ++i) {
    const auto matrix = [&](const View& stack) { return rows_of(stack, i * (stack.rows / batch), stack.rows / batch); };
    Status status;
    if (form == 0) status = product_nn(ctx, matrix(c), matrix(a), matrix(b), 1.0f, false);
    if (form == 1) status = product_nt(ctx, matrix(c), matrix(a), matrix(b), View{}, 1.0f, false);
    if (form == 2) status = product_tn(ctx, matrix(c), matrix(a), matrix(b), 1.0f, false);
    if (!status.ok()) return status;
  }
  return {};
}

int64_t matmul_scratch(int, Out, In, In, i32, i32) { return 0; }

}  // namespace lowrank::scalar
