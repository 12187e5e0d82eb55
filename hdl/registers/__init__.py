"""What is made of the SystemRDL source of the registers: the map that the RTL reads, headers and documents."""
