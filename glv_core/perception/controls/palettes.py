"""Colours of segmentation maps: what a class is painted with."""

from __future__ import annotations

import torch

# ADE20K's 150 classes as mmsegmentation and ControlNet's seg annotator paint them; RRGGBB.
_ADE20K = (
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 "
    "ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff "
    "08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff "
    "eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff "
    "0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad "
    "0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 "
    "00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa "
    "8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 "
    "ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff "
    "00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff"
)
# Numbers of COCO-Stuff's 182 that no image has; models know the other 171, in order.
_COCO_STUFF_UNUSED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
COCO_STUFF_CLASSES = 182


def _ade20k() -> torch.Tensor:
    return torch.tensor([list(bytes.fromhex(colour)) for colour in _ADE20K.split()], dtype=torch.uint8)


def _coco_stuff() -> torch.Tensor:
    """The bits of the class number + 1, dealt to red, green and blue from the highest bit down (as PASCAL VOC does)."""
    colours = torch.zeros(COCO_STUFF_CLASSES, 3, dtype=torch.uint8)
    for label in range(COCO_STUFF_CLASSES):
        for bit in range(8):
            if (label + 1) >> bit & 1:
                colours[label, bit % 3] |= 128 >> bit // 3
    return colours


PALETTES = {"ade20k": _ade20k(), "coco_stuff": _coco_stuff()}  #: ``classes 3`` uint8, RGB


def palette_for(name: str, num_classes: int) -> torch.Tensor:
    """The colours ``num_classes 3`` uint8 of a model's classes in a palette.

    ``ade20k``: 150 classes, for ControlNet's seg models. ``coco_stuff``: 182 numbers (171 of them used), for
    T2I-Adapter's seg model, whose training data were painted like this; both palettes call some colours differently.

    Raises:
        ValueError: a model with so many classes was not trained on the palette's data set.
    """
    palette = PALETTES[name]
    if name == "coco_stuff" and num_classes == COCO_STUFF_CLASSES - len(_COCO_STUFF_UNUSED):
        return palette[[label for label in range(COCO_STUFF_CLASSES) if label not in _COCO_STUFF_UNUSED]]
    if num_classes != len(palette):
        wanted = {"ade20k": "ADE20K (150 classes)", "coco_stuff": "COCO-Stuff (171 or 182 classes)"}[name]
        raise ValueError(
            f"palette is {name!r}, and the model knows {num_classes} classes: they would be painted in the colours of "
            f"other things. Choose a model that was trained on {wanted}, or another palette."
        )
    return palette


def paint(labels: torch.Tensor, palette: torch.Tensor) -> torch.Tensor:
    """Class numbers ``t h w`` as colours ``t h w 3`` uint8; numbers outside of the palette are black."""
    known = (labels >= 0) & (labels < len(palette))
    colours = palette.to(labels.device)[labels.clamp(0, len(palette) - 1).long()]
    return colours * known[..., None].to(torch.uint8)
