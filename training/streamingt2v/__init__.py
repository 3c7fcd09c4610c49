"""Training of the tiny StreamingT2V of the drawn world: ``python -m training.streamingt2v.train``."""
