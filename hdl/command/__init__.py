"""Commands in memory: rings, plans and tables on their way to the core."""
