"""I2VGen-XL: Stable Diffusion's latents, and an image that a window begins with, given for every frame of the video."""

from __future__ import annotations

from ....video_models import I2VGEN_XL
from .family import Family

#: In a CONDITIONING: latents ``k 4 h w`` of the image, or of the first frame of each chunk; what CLIP says of them,
#: ``k width``; frames of a chunk and those shared with the next; frames per second.
IMAGES, SEEN, CHUNK, OVERLAP, FPS = (
    f"i2vgen_xl_{name}" for name in ("images", "seen", "chunk", "overlap", "fps")
)  # fmt: skip
#: Model conds that follow from them, a row for every frame, see ``loading.i2vgen_xl``: a window takes its first row.
IMAGE_LATENTS, IMAGE_EMBEDDINGS, TOLD_FPS = "image_latents", "image_embeddings", "fps"
MODEL_CLASS = "I2VGenXLModel"  #: of the MODELs, in ``loading.i2vgen_xl``

FAMILIES = (Family(I2VGEN_XL, own_classes=(MODEL_CLASS,)),)
