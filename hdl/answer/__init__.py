"""Which commands are open, what becomes of each, and when software is told."""
