"""Long video from short diffusion models: temporal co-denoising, independent of any host."""

__version__ = "0.1.0"
