"""What the editor is told while a graph is built: the plan of windows or chunks, before anything is loaded."""

from .chunks import chunk_preview, made_chunks
from .plan import MOST_FRAMES, Planned, chunk_plan, window_plan

__all__ = ["MOST_FRAMES", "Planned", "chunk_plan", "chunk_preview", "made_chunks", "window_plan"]
