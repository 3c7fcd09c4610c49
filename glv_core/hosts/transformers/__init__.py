"""Models of the transformers library behind the pack's small protocols."""
