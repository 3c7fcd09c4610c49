"""MultiPromptSchedule: text on a timeline to CONDITIONING."""

from __future__ import annotations

import logging
from typing import Any

from comfy_api.latest import io

from ..glv_core.hosts.comfy.co_denoise.prompt_tags import TAG, PromptTag
from ..glv_core.prompts import BEYOND_END, PromptSyntaxError, parse_schedule, read_schedule
from .before_run import Wrong, possible_values
from .errors import naming
from .inputs import CATEGORY, ESSENTIAL, video_inputs
from .notes import told

log = logging.getLogger(__name__)

_ANY_LENGTH = 1_000_000  # stands for a length that is not known yet, when only the syntax is checked
_EXAMPLE = "0: a calm sea at dawn\n5s: the wind rises, high waves\n75%: a storm at night, lightning"


class MultiPromptSchedule(io.ComfyNode):
    """Prompts with their times, cross-fades between them, for co-denoising."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="MultiPromptSchedule",
            display_name="Multi-Prompt Schedule",
            category=f"{CATEGORY}/prompts",
            description="Prompts on a timeline. Lines such as '0: ...', '2.5s: ...', '50%: ...', '-24: ...' (from the "
            "end), '24-48: ...'; or 'a | b | c' spread evenly; or times in brackets, scenes, or the dictionaries of "
            "FizzNodes and AnimateDiff-Evolved. In a plain KSampler the prompts are averaged over the whole video.",
            **ESSENTIAL,
            search_aliases=[
                "prompt travel",
                "prompt schedule",
                "batch prompt schedule",
                "prompt relay",
                "timeline",
                "fizz",
            ],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the model."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default=_EXAMPLE,
                    dynamic_prompts=False,
                    tooltip="A line a prompt, 'time: prompt', with the time in frames (48), seconds (2.5s), percent "
                    "(50%), from the end (-24), or a range (24-48).",
                ),
                *video_inputs(),
                io.Combo.Input(
                    "transition",
                    options=["linear", "ease", "hard"],
                    default="linear",
                    tooltip="How a prompt gives way to the next, where its line does not say. linear: a straight "
                    "cross-fade; ease: slow at both ends; hard: at once.",
                ),
                io.Float.Input(
                    "transition_frames",
                    default=8.0,
                    min=0.0,
                    max=100_000.0,
                    step=1.0,
                    round=0.01,
                    tooltip="Length of a cross-fade in frames, half before and half after the time of the prompt.",
                ),
                io.String.Input(
                    "common_text",
                    multiline=True,
                    default="",
                    optional=True,
                    dynamic_prompts=False,
                    tooltip="Stands in front of every prompt, with a comma between them: who and where, and the style.",
                ),
                io.Combo.Input(
                    "beyond_end",
                    options=list(BEYOND_END),
                    default=BEYOND_END[0],
                    optional=True,
                    tooltip="Prompts that start behind the end of the video. error: they are a mistake; drop: they are "
                    "left out, ranges end with the video, and the node says so.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="For positive or negative of CoDenoiseKSampler."
                )
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        prompts: str | None = None,
        length: int | None = None,
        fps: float | None = None,
        common_text: str | None = "",
        beyond_end: str | None = BEYOND_END[0],
    ) -> bool | Wrong:
        """Shows mistakes in the text before anything is loaded; linked inputs are None and wait for ``execute``."""
        if prompts is None or beyond_end is None:
            return True
        lengths = [length] if length is not None else possible_values("length")
        rates = [fps] if fps is not None else possible_values("fps")
        known = bool(lengths and rates)
        said = None
        for num_frames in lengths if known else [_ANY_LENGTH]:  # a mistake is one that it is at every length
            try:
                parse_schedule(
                    prompts,
                    num_frames=num_frames,
                    fps=rates[0] if known else 16.0,
                    common_text=common_text or "",
                    beyond_end=beyond_end,
                )
            except PromptSyntaxError as error:
                return Wrong.of(error, "prompts")
            except ValueError as error:
                if not known:
                    return True
                said = said or Wrong.of(error, "prompts", "fps", "length")
            else:
                return True
        return said or True

    @classmethod
    def execute(
        cls,
        clip: Any,
        prompts: str,
        length: int,
        fps: float,
        transition: str,
        transition_frames: float,
        common_text: str = "",
        beyond_end: str = BEYOND_END[0],
    ) -> io.NodeOutput:
        with naming("MultiPromptSchedule"):
            if clip is None:
                raise ValueError(
                    "clip is missing: the loader gave no text encoder. Connect a CLIP loader (for Wan: CLIPLoader, "
                    "type wan) or a checkpoint that contains one."
                )
            read = read_schedule(
                prompts,
                num_frames=length,
                fps=fps,
                transition=transition,
                transition_frames=transition_frames,
                common_text=common_text,
                beyond_end=beyond_end,
            )
        for warning in read.warnings:
            log.warning("MultiPromptSchedule: %s", warning)
        conditioning = [
            [tensor, {**extras, TAG: PromptTag(read.schedule, index)}]
            for index, prompt in enumerate(read.schedule.prompts)
            for tensor, extras in clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
        ]
        # The timeline in the editor asks for it where the video's length comes through a link.
        shown = {**(told("\n\n".join(map(str, read.warnings))) or {}), "timeline_video": (length, fps)}
        return io.NodeOutput(conditioning, ui=shown)
