"""Seeing: masks of things that text names, and control images."""
