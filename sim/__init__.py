"""Simulation engines, memory models, host driver and command line of SpAtten."""
