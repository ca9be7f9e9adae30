/** A label that counts nothing, as PyTorch's cross-entropy and Hugging Face's data have it. */
export const ignoredLabel = -100;
