"""Wrong hardware that the tests must notice: ``make mutate``."""
