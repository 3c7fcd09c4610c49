"""Conditionings that run along a long video, made of a few frames at a time."""
