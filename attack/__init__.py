"""Hostile campaigns against the whole core: ``make attack``; docs/verification.md says what they do and have done."""
