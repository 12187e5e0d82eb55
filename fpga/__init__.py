"""FPGA synthesis with open tools."""
