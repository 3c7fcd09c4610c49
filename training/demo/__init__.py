"""Training of the demo model in ``glv_core/demo/model``: ``python -m training.demo.train``."""
