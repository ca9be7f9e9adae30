// Matrix products of the reference. The second factor may be a weight of any type. No product skips zeros: 0 * NaN is NaN.
#pragma once
#include "kernels/scalar/tiles.h"

namespace lowrank::scalar {

/// c[M, N] = factor * a[M, K] * b[N, K]^T + bias[1, N]; `bias` may be absent. With `add`, the product is added to c.
Status product_nt(Context& ctx, const View& c, const View& a, const View& b, const View& bias, float factor, bool add);

/// c[M, N] = factor * a[M, K] * b[K, N]. With `add`, the product is added to c.
Status product_nn(Context& ctx, const View& c, const View& a, const View& b, float factor, bool add);

/// c[M, N] = factor * a[K, M]^T * b[K, N]. With `add`, the product is added to c.
Status product_tn(Context& ctx, const View& c, const View& a, const View& b, float factor, bool add);

}  // namespace lowrank::scalar
