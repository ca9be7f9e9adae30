/**
 * @file Σ: W = V·diag(σ)·Uᵀ by the layer's own singular value decomposition; only the diagonal is trained, as σ + δ:
 * y = W·x + V·(δ ⊙ Uᵀx), ∂L/∂δᵢ = Σ_rows (Vᵀdy)ᵢ·(Uᵀx)ᵢ. docs/sigma.md derives and checks it.
 */
import type { Parameter } from "../autograd/parameter.js";
import { engine } from "../native/engine.js";
import { LowrankError, quoted } from "../native/errors.js";
import { isQuantized } from "../tensor/dtype.js";
import { outsideScopes } from "../tensor/scope.js";
import { empty, type Tensor, viewOf } from "../tensor/tensor.js";
import type { Method } from "./method.js";

/**
 * a = Uᵀ and b = V of the `rank` largest singular values are frozen, middle = δ starts at zero. The decomposition runs on the native thread;
 * when it fails (a weight that is not finite), all that depends on it rejects with NOT_CONVERGED.
 */
export const sigma: Method = {
  name: "sigma",
  roles: ["a", "b", "middle"],
  trains: ["middle"],
  rankOf: ({ inFeatures, outFeatures }, wanted) => Math.min(wanted, inFeatures, outFeatures),
  tensorName: (path) => `${path}.delta`,
  initialize({ path, linear, rank }, { a, b, middle }) {
    if (isQuantized(linear.weight.dtype)) {
      const message = `attach: "sigma" trains the singular values of a weight, and that of ${quoted(path)} is ${linear.weight.dtype}. Use method "lora", or load the model without quantize.`;
      throw new LowrankError("BAD_DTYPE", message, { module: path, actual: linear.weight.dtype });
    }
    engine().kernels.fill((middle as Parameter).target(), 0);
    const all = Math.min(linear.outFeatures, linear.inFeatures);
    outsideScopes(() => {
      const v = empty([linear.outFeatures, all], "f32");
      const ut = empty([all, linear.inFeatures], "f32");
      // Ordinary tensors, not state: a failed decomposition marks them, and so everything computed from them.
      try {
        engine().kernels.svd(v, undefined, ut, linear.weight.value);
        a.rebind(corner(ut, rank, linear.inFeatures));
        b.rebind(corner(v, linear.outFeatures, rank));
      } finally {
        for (const tensor of [v, ut]) tensor.dispose();
      }
    });
  },
};

/** The first rows and columns of a matrix: another handle on all of it, or a copy of the part. */
function corner(matrix: Tensor, rows: number, cols: number): Tensor {
  const part = viewOf(matrix, [rows, cols], { offset: 0, ld: matrix.ld });
  if (rows === matrix.rows && cols === matrix.cols) return part;
  try {
    const copy = empty([rows, cols], "f32");
    engine().kernels.copy(copy, part);
    return copy;
  } finally {
    part.dispose();
  }
}
