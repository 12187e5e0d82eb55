"""What joins commands, core and results to buses and registers: windows, queues, faults, ports."""
