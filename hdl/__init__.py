"""Amaranth generator of the SpAtten sparse-attention accelerator."""
