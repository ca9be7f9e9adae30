import { fileURLToPath } from "node:url";

/**
 * The folder of the model that comes with the package, an absolute path: `loadModel(bundledModel)`. It has 1,041,792 parameters, tells little
 * stories, answers simple questions about them, and knows nothing else: made for a first try, for examples and for tests.
 */
export const bundledModel: string = fileURLToPath(new URL("../../models/bundled", import.meta.url));
