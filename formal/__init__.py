"""Proofs of the blocks: ``make prove``; docs/verification.md says what is proved and what is not."""
