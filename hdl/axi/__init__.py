"""The top for a system on chip: AXI ports, registers, rings in memory."""
