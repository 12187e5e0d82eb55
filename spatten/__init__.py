"""SpAtten: generator, golden model, simulators and measurements of the sparse-attention accelerator."""
