"""Frames into the sizes that StreamingT2V's other models work at, and out again (arXiv 2403.14773).

MS-Vid2Vid-XL refines at 1280 x 720, where a square video stands between black bars; Stable Video Diffusion makes the
first frames at 1024 x 576, from a square image between black bars. Frames are ``t h w c``; a side that is given in one
number is in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

#: Width and height that MS-Vid2Vid-XL refines at, and that Stable Video Diffusion makes.
REFINED = (1280, 720)
IMAGE_TO_VIDEO = (1024, 576)
#: Frames and side of the video that StreamingT2V goes on from.
START_FRAMES, START_SIDE = 16, 256


@dataclass(frozen=True)
class Placement:
    """Where frames of one size lie in a larger canvas: all in pixels, ``left`` and ``top`` of the bars before them."""

    width: int
    height: int
    left: int
    top: int
    canvas_width: int
    canvas_height: int


def place(width: int, height: int, canvas: tuple[int, int] = REFINED) -> Placement:
    """The largest place of the same shape in a canvas, in its middle; rounded down where it does not come out even.

    Args:
        width, height: of the frames.
        canvas: width and height; see ``check_canvas``.

    Raises:
        ValueError: a side below 1 pixel, or frames so long and thin that nothing would be left of them.
    """
    if min(width, height, *canvas) < 1:
        raise ValueError(f"Frames of {width} x {height} pixels in {canvas[0]} x {canvas[1]}; no side may be below 1.")
    new_width, new_height = canvas
    if height * canvas[0] < width * canvas[1]:
        new_height = height * canvas[0] // width
    else:
        new_width = width * canvas[1] // height
    if min(new_width, new_height) < 1:
        raise ValueError(
            f"Frames of {width} x {height} pixels would be {new_width} x {new_height} in {canvas[0]} x {canvas[1]}. "
            "Crop them to a shape that is nearer to the canvas."
        )
    left, top = (canvas[0] - new_width) // 2, (canvas[1] - new_height) // 2
    return Placement(new_width, new_height, left, top, *canvas)


def fit(frames: torch.Tensor, canvas: tuple[int, int] = REFINED) -> torch.Tensor:
    """Frames in the middle of a black canvas, their shape kept, resized bicubically as Pillow does.

    Args:
        frames: ``t h w c``, floats 0 ... 1. What is done to one does not depend on the others.
        canvas: width and height.

    Returns:
        ``t canvas_height canvas_width c``, clamped to 0 ... 1.

    Raises:
        ValueError: see ``place``.
    """
    return fit_into(frames, place(frames.shape[2], frames.shape[1], canvas))


def fit_into(frames: torch.Tensor, where: Placement) -> torch.Tensor:
    """Frames ``t h w c`` resized to a place on its black canvas; see ``fit``."""
    return _on_black(_resize(frames, where.width, where.height), where)


def cut_out(frames: torch.Tensor, where: Placement) -> torch.Tensor:
    """The part of ``t canvas_height canvas_width c`` that is no bar, ``t h w c``; a view.

    Raises:
        ValueError: the frames have not the size of the canvas.
    """
    if tuple(frames.shape[1:3]) != (where.canvas_height, where.canvas_width):
        raise ValueError(
            f"The frames are {frames.shape[2]} x {frames.shape[1]} pixels and the canvas {where.canvas_width} x "
            f"{where.canvas_height}; bars are cut off at the size that they were added at. Do not resize in between."
        )
    return frames[:, where.top : where.top + where.height, where.left : where.left + where.width]


def check_canvas(width: int, height: int) -> None:
    """Check that MS-Vid2Vid-XL can work at a size in pixels, eight to a latent row or column.

    Raises:
        ValueError: the width is no multiple of 64, or the height is not 16 more than one.
    """
    if width % 8 or height % 8:
        raise ValueError(
            f"The canvas is {width} x {height} pixels; MS-Vid2Vid-XL's sides are multiples of 8. "
            f"{_nearest(width, height)}"
        )
    check_latent_size(width // 8, height // 8)


def check_latent_size(columns: int, rows: int, downsamplers: int = 3) -> None:
    """Check that a latent comes out of MS-Vid2Vid-XL's UNet as large as it went in.

    Its downsamplers make n rows n / 2 + 1 and its upsamplers make that n again, so that n - 2 must be even at each of
    them. Columns are plainly halved.

    Raises:
        ValueError: with ``s`` = 2 ^ ``downsamplers``, rows are not 2 more than a multiple of ``s``, or columns no
            multiple of ``s``.
    """
    step = 2**downsamplers
    if rows % step != 2 % step or columns % step or min(rows, columns) < 1:
        raise ValueError(
            f"The latent is {columns} x {rows} ({columns * 8} x {rows * 8} pixels); MS-Vid2Vid-XL needs columns "
            f"that are a multiple of {step} and rows that are 2 more than one, as 160 x 90 (1280 x 720). "
            f"{_nearest(columns * 8, rows * 8, step)}"
        )


def _nearest(width: int, height: int, step: int = 8) -> str:
    unit = 8 * step
    best = (max(1, round(width / unit)) * unit, max(0, round((height - 16) / unit)) * unit + 16)
    return f"The nearest size is {best[0]} x {best[1]} pixels."


def prepare_image(image: torch.Tensor) -> torch.Tensor:
    """An image as the first frame of image-to-video: a square between black bars.

    It is resized to a height of 576, its shape kept, and cut to the 576 columns in the middle; a narrower one gets
    black up to there. 224 black columns on each side make it 1024 x 576.

    Args:
        image: ``h w c``, floats 0 ... 1.

    Returns:
        ``576 1024 c``.

    Raises:
        ValueError: the image is so narrow that nothing would be left of it.
    """
    height, width = image.shape[:2]
    canvas_width, side = IMAGE_TO_VIDEO
    new_width = width * side // height
    if new_width < 1:
        raise ValueError(f"The image is {width} x {height} pixels, less than a column at {side} rows. Crop it.")
    resized = _resize(image[None], new_width, side)
    cut = max(0, round((new_width - side) / 2))
    resized = resized[:, :, cut : cut + side]
    left = (canvas_width - side) // 2 + max(0, -round((new_width - side) / 2))
    return _on_black(resized, Placement(resized.shape[2], side, left, 0, canvas_width, side))[0]


def start_frames(frames: torch.Tensor, num_frames: int = START_FRAMES, side: int = START_SIDE) -> torch.Tensor:
    """What StreamingT2V goes on from, of the frames that image-to-video made of ``prepare_image``'s result.

    Args:
        frames: ``t 576 1024 c``.
        num_frames: how many of the first frames are taken.
        side: rows and columns of the result; the nearest pixels are taken, as released.

    Returns:
        ``num_frames side side c``.

    Raises:
        ValueError: fewer frames than that, or of another size.
    """
    if len(frames) < num_frames:
        raise ValueError(f"There are {len(frames)} frames and {num_frames} are needed. Make a longer video.")
    canvas_width, square = IMAGE_TO_VIDEO
    bar = (canvas_width - square) // 2
    inside = cut_out(frames[:num_frames], Placement(square, square, bar, 0, canvas_width, square))
    nearest = torch.arange(side, device=frames.device) * square // side
    return inside[:, nearest][:, :, nearest]


def _resize(frames: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """Bicubic, ``t h w c``. With ``antialias`` torch takes Pillow's kernel, also where the frames grow."""
    if (height, width) == tuple(frames.shape[1:3]):
        return frames
    channels_first = frames.movedim(-1, 1)
    resized = F.interpolate(channels_first, (height, width), mode="bicubic", align_corners=False, antialias=True)
    return resized.movedim(1, -1).clamp(0, 1)


def _on_black(frames: torch.Tensor, where: Placement) -> torch.Tensor:
    canvas = frames.new_zeros((len(frames), where.canvas_height, where.canvas_width, frames.shape[3]))
    cut_out(canvas, where).copy_(frames)
    return canvas
