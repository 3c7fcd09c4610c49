"""Training of the tiny StreamingT2V (``python -m training.streamingt2v.train``), and on videos (``...finetune``)."""
