"""PyTorch golden models: float64 definition, bit-exact integer model, transformers backend."""
