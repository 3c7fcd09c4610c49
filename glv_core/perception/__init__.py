"""Masks of things that text names, and control images, but for the large models that find them."""
