"""Tuning a MODEL on one video with the host's own training parts, and putting what came of it on a MODEL."""
