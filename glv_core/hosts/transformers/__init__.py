"""Models of the transformers library (detectors, segmenters, estimators) behind the protocols of ``perception``."""
