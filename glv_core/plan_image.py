"""An image of what will be denoised together: windows, merge weights and prompts over the timeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

from .co_denoise import CoDenoiseSettings, Stage
from .cost import Cost, run_cost
from .prompts import PromptSchedule, PromptTrack
from .timeline import Timebase
from .windows import Window, smallest_overlap

Color = tuple[int, int, int]

WIDTH = 1200
LEFT, RIGHT, TOP, BOTTOM = 84, 28, 18, 18
BAND_HEIGHT = 40
SHOWN_STEPS = 4  #: steps drawn of a schedule that moves
SHOWN_PROMPTS = 12  #: prompts written out below the image

PAPER: Color = (255, 255, 255)
INK: Color = (30, 34, 40)
FAINT: Color = (112, 120, 130)
GRID: Color = (226, 229, 233)
PLAIN: Color = (120, 150, 190)
COLORS: tuple[Color, ...] = (
    (102, 166, 230),
    (246, 166, 84),
    (116, 196, 118),
    (229, 122, 132),
    (172, 142, 220),
    (222, 196, 72),
    (92, 196, 196),
    (214, 146, 190),
)


@dataclass(frozen=True)
class Plan:
    """What there is to draw, and where frames fall on the image."""

    settings: CoDenoiseSettings
    timebase: Timebase
    schedule: PromptSchedule | None
    steps: int

    def x(self, frame: float) -> float:
        """Horizontal position of the start of a frame, clipped to the video."""
        frame = min(max(frame, 0), self.timebase.num_frames)
        return LEFT + (WIDTH - LEFT - RIGHT) * frame / self.timebase.num_frames

    def edge(self, latent_frame: int) -> int:
        """Horizontal position of the start of a latent frame."""
        return round(self.x(self.timebase.frames_of(latent_frame)[0]))

    def windows(self, step: int) -> tuple[Window, ...]:
        return self.settings.windows(self.timebase.num_latent_frames, step, self.steps)

    def weights(self, step: int) -> list[list[float]]:
        """The merge weights of the windows of a step."""
        length = self.timebase.num_latent_frames
        weights = self.settings.weights(self.windows(step), length, step, self.steps)
        return [each.tolist() for each in weights]

    def shown(self) -> list[tuple[str, int]]:
        """The steps to draw, with their names: one if all are the same, else the first ones of every phase."""
        if all(self.windows(s) == self.windows(0) and self.weights(s) == self.weights(0) for s in range(self.steps)):
            return [("every step", 0)]
        phases = [self.settings.at(step, self.steps) for step in range(self.steps)]
        begins = [step for step in range(self.steps) if step == 0 or phases[step] != phases[step - 1]]
        each = max(1, SHOWN_STEPS // len(begins))
        steps = {step for begin in begins for step in range(begin, min(begin + each, self.steps))}
        return [(f"step {step + 1}", step) for step in sorted(steps)]

    @cached_property
    def track(self) -> PromptTrack | None:
        """What each latent frame sees of the prompts."""
        if self.schedule is None:
            return None
        return PromptTrack.of(self.schedule, self.timebase.num_latent_frames, self.timebase.compression)

    @cached_property
    def cost(self) -> Cost:
        """What the run costs."""
        return run_cost(self.settings, self.timebase.num_latent_frames, self.steps, self.track)

    @cached_property
    def prompts(self) -> tuple[str, ...]:
        """The distinct prompts in order of appearance; the index of each gives its color."""
        return () if self.schedule is None else self.schedule.prompts

    @cached_property
    def row_of(self) -> dict[str, int]:
        """The index of each prompt."""
        return {prompt: row for row, prompt in enumerate(self.prompts)}

    def color_at(self, frame: float) -> Color:
        """The color of the prompts that a frame sees, mixed by their weights."""
        if self.schedule is None:
            return PLAIN
        segments = self.schedule.segments
        return _mixed([(self.row_of[segments[each].prompt], weight) for each, weight in self.schedule.seen(frame)])

    def color_of(self, latent_frame: int) -> Color:
        """The color of the prompts that a latent frame sees."""
        if self.track is None:
            return PLAIN
        return _mixed(list(enumerate(self.track.weights[:, latent_frame].tolist())))


def _mixed(parts: list[tuple[int, float]]) -> Color:
    """The color of prompts, by index, with these weights."""
    return tuple(round(sum(COLORS[index % len(COLORS)][i] * weight for index, weight in parts)) for i in range(3))


def draw_plan(
    settings: CoDenoiseSettings, timebase: Timebase, schedule: PromptSchedule | None, steps: int
) -> Image.Image:
    """Draw the window plan of a run.

    A bar is a window; the height of its filling is the weight that it has in the merge at each latent frame. A schedule
    that moves shows its first steps. Colors are prompts, gradients are transitions.

    Args:
        settings: windows and merge, in latent frames.
        timebase: the clock of the video.
        schedule: prompts, or None to leave them out.
        steps: sampling steps of the run, at least 1.

    Returns:
        An RGB image 1200 pixels wide.

    Raises:
        ValueError: ``steps`` below 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; a run has at least 1.")
    plan = Plan(settings, timebase, schedule, steps)
    groups = [(name, pack(plan.windows(step)), plan.weights(step), plan.windows(step)) for name, step in plan.shown()]
    lanes = sum(len(packed) for _, packed, _, _ in groups)
    bar = max(9, min(34, 420 // lanes))
    prompts = plan.prompts
    header, axis, gap = 84, 44, 14
    body = sum(len(packed) * (bar + 4) + gap for _, packed, _, _ in groups)
    legend = 24 * min(len(prompts), SHOWN_PROMPTS + 1) + (10 if prompts else 0)
    band = BAND_HEIGHT + 12 if schedule else 0
    image = Image.new("RGB", (WIDTH, TOP + header + axis + band + body + legend + BOTTOM), PAPER)
    draw = ImageDraw.Draw(image)
    _header(draw, plan)
    y = TOP + header
    _axis(draw, plan, y, y + axis, y + axis + band + body - gap + 4)
    y += axis
    if schedule:
        _band(draw, plan, y)
        y += band
    for name, packed, weights, windows in groups:
        height = len(packed) * (bar + 4)
        _text(draw, (LEFT - 12, y + height / 2 - 2), name, 14, FAINT, "rm")
        for lane, members in enumerate(packed):
            for index in members:
                _bar(draw, plan, windows[index], weights[index], index, y + lane * (bar + 4), bar)
        y += height + gap
    _legend(draw, prompts, y)
    return image


def pack(windows: Sequence[Window]) -> list[list[int]]:
    """Indices of windows in as few lanes as they need without touching each other in a lane."""
    lanes: list[list[int]] = []
    taken: list[set[int]] = []
    for index, window in enumerate(windows):
        span = {index for first, last in runs(window, window.stride) for index in range(first, last + 1)}
        free = next((lane for lane in range(len(lanes)) if not span & taken[lane]), None)
        if free is None:
            lanes.append([index])
            taken.append(span)
        else:
            lanes[free].append(index)
            taken[free] |= span
    return lanes


def runs(window: Window, gap: int = 1) -> list[tuple[int, int]]:
    """First and last latent frame of every stretch of a window, those at most ``gap`` apart in one stretch."""
    stretches: list[tuple[int, int]] = []
    for index in window.indices:
        if stretches and 0 < index - stretches[-1][1] <= gap:
            stretches[-1] = (stretches[-1][0], index)
        else:
            stretches.append((index, index))
    return stretches


def facts(plan: Plan) -> tuple[str, str, str]:
    """The three lines of text above the image."""
    settings, timebase = plan.settings, plan.timebase
    length = timebase.num_latent_frames
    counts = settings.window_counts(length, Stage.whole(plan.steps))
    per_step = str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    cost = plan.cost
    compression = timebase.compression
    each = settings.each(Stage.whole(plan.steps))
    lengths = [window for window, _ in groupby(min(phase.window, length) for phase in each)]
    window_frames = " then ".join(str(compression.num_frames(window)) for window in lengths)
    window = " then ".join(map(str, lengths))
    spaced = f", stride {settings.stride}" if settings.stride > 1 else ""
    num_frames, looped = timebase.num_frames, ""
    if settings.closed_loop:
        num_frames, looped = compression.frame_span(length), ", closed loop"
    first = replace(settings, phases=())
    overlap = min(smallest_overlap(first.windows(length, step, plan.steps)) for step in range(plan.steps))
    on_grain = overlap > 0 and compression.grain > 1  # what windows share is then a clip of its own
    overlap_frames = compression.num_frames(overlap) if on_grain else compression.frame_span(overlap)
    phases = f", {len(settings.phases)} more phase{'s' * (len(settings.phases) > 1)}" if settings.phases else ""
    prompted = f", {cost.evaluations} with prompts" if cost.evaluations > cost.windows else ""
    if plan.schedule is not None and settings.prompt_blending != "predictions":
        prompted += f", prompts by {settings.prompt_blending}"
    return (
        f"{num_frames:g} frames, {num_frames / timebase.fps:.4g} s at {timebase.fps:g} fps, {length} latent frames"
        f"{looped}",
        f"{settings.schedule} windows of {window_frames} frames ({window} latent), overlap "
        f"{overlap_frames:g} ({overlap} latent){spaced}, {settings.merge} merge{phases}",
        f"{per_step} {'window' if per_step == '1' else 'windows'} a step, {cost.windows} in {plan.steps} steps"
        f"{prompted}: {cost.ratio:.2f} times the latent frames of the video",
    )


def _header(draw: ImageDraw.ImageDraw, plan: Plan) -> None:
    for line, (text, size, color) in enumerate(zip(facts(plan), (22, 16, 16), (INK, INK, FAINT), strict=True)):
        _text(draw, (28, TOP + (0, 30, 54)[line]), text, size, color, "la")
    _text(draw, (WIDTH - RIGHT, TOP + 56), "a bar is a window, its filling its weight in the merge", 14, FAINT, "ra")


def _axis(draw: ImageDraw.ImageDraw, plan: Plan, top: int, bottom: int, end: int) -> None:
    """Frames above the line, seconds below it, with grid lines down to ``end``."""
    middle = top + 20
    last = plan.timebase.num_frames
    for frame in _ticks(last, whole=True):
        x = plan.x(frame)
        draw.line([(x, middle), (x, end)], fill=GRID)
        _text(draw, (x, middle - 4), f"{frame:g}", 13, INK, "mb")
    for second in _ticks(plan.timebase.seconds, whole=False):
        x = plan.x(second * plan.timebase.fps)
        draw.line([(x, middle), (x, middle + 4)], fill=FAINT)
        _text(draw, (x, middle + 5), f"{second:g} s", 12, FAINT, "mt")
    draw.line([(plan.x(0), middle), (plan.x(last), middle)], fill=INK)
    _text(draw, (LEFT - 12, middle - 4), "frame", 13, INK, "rb")


def _ticks(end: float, whole: bool) -> list[float]:
    """Round positions from 0 up to ``end``, at most 13."""
    decades = range(0 if whole else -3, 7)
    steps = (digit * 10.0**decade for decade in decades for digit in (1, 2, 5))
    step = next(step for step in steps if end / step <= 12)
    return [index * step for index in range(int(end / step + 1e-9) + 1)]


def _band(draw: ImageDraw.ImageDraw, plan: Plan, top: int) -> None:
    """The prompts as one band, with their text."""
    frames_a_pixel = plan.timebase.num_frames / (WIDTH - LEFT - RIGHT)
    for x in range(LEFT, WIDTH - RIGHT):
        color = plan.color_at((x + 0.5 - LEFT) * frames_a_pixel - 0.5)
        draw.line([(x, top), (x, top + BAND_HEIGHT - 1)], fill=color)
    _text(draw, (LEFT - 12, top + BAND_HEIGHT / 2), "prompt", 14, FAINT, "rm")
    for segment in plan.schedule.segments:
        start, end = plan.x(segment.start + segment.transition.frames / 2), plan.x(segment.end)
        text = f"{plan.row_of[segment.prompt] + 1}  {' '.join(segment.prompt.split())}"
        fitted = shorten(text, end - start - 16, 15)
        _text(draw, (start + 8, top + BAND_HEIGHT / 2), fitted, 15, INK, "lm")


def _bar(
    draw: ImageDraw.ImageDraw, plan: Plan, window: Window, weights: list[float], index: int, top: int, height: int
) -> None:
    """One window: a box for every stretch of it, filled as high as its weight at each latent frame."""
    bottom = top + height - 1
    weight_of = dict(zip(window.indices, weights, strict=True))
    widest = (0, 0)
    for first, last in runs(window):
        left, right = plan.edge(first), plan.edge(last + 1) - 2
        draw.rectangle([left, top, max(left, right), bottom], fill=(243, 245, 247))
        for latent_frame in range(first, last + 1):
            x, next_x = plan.edge(latent_frame), min(plan.edge(latent_frame + 1) - 1, right)
            if next_x >= x and (level := round((height - 1) * weight_of[latent_frame])) > 0:
                draw.rectangle([x, bottom - level, next_x, bottom], fill=plan.color_of(latent_frame))
        draw.rectangle([left, top, max(left, right), bottom], outline=(150, 158, 168))
        widest = max(widest, (right - left, left))
    size = min(13, height - 2)
    if size >= 8 and widest[0] > 24:
        _text(draw, (widest[1] + widest[0] / 2, top + height / 2), str(index + 1), size, INK, "mm")


def _legend(draw: ImageDraw.ImageDraw, prompts: Sequence[str], top: float) -> None:
    """The prompts in full, as far as a line holds."""
    for index, prompt in enumerate(prompts[:SHOWN_PROMPTS]):
        y = top + 24 * index
        draw.rectangle([LEFT - 26, y + 2, LEFT - 12, y + 16], fill=COLORS[index % len(COLORS)])
        text = shorten(f"{index + 1}  {' '.join(prompt.split())}", WIDTH - LEFT - RIGHT, 15)
        _text(draw, (LEFT, y + 9), text, 15, INK, "lm")
    if len(prompts) > SHOWN_PROMPTS:
        y = top + 24 * SHOWN_PROMPTS
        _text(draw, (LEFT, y + 9), f"and {len(prompts) - SHOWN_PROMPTS} more", 15, FAINT, "lm")


def shorten(text: str, width: float, size: int) -> str:
    """As much of a text as fits in ``width`` pixels, with an ellipsis where it was cut; empty where nothing fits."""
    font = ImageFont.load_default(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…" if text.strip() else ""


def _text(
    draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, size: int, color: Color, anchor: str
) -> None:
    draw.text(position, text, fill=color, font=ImageFont.load_default(size), anchor=anchor)
