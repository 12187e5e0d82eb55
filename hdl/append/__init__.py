"""New rows of K, V and Q to the integers of their planes."""
