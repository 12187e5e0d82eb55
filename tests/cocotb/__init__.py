"""Tests with the bus models of cocotbext-axi, in Verilator; they need the extra ``cocotb``."""
