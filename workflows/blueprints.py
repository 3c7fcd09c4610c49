"""The blueprints (``subgraphs/*.json``): parts of the workflows in one node, to be dropped into any graph.

``build_graphs.py`` lays them out as it does the workflows that their nodes come from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Blueprint:
    """A part of a workflow as one node.

    ``workflow``: its API prompt has the nodes; ``nodes``: which of them; ``added``: nodes beside them, by number;
    ``values``: what is another value or link than there, by node and input. ``inputs``: the node's inputs from top to
    bottom, each with what it feeds (node, input); ``types``: an input's type where what it feeds takes several.
    ``outputs``: name, node and output. ``aliases``: other words that the node search finds it by.
    """

    workflow: str
    nodes: str
    inputs: dict[str, list[tuple[str, str]]]
    outputs: list[tuple[str, str, int]]
    description: str
    aliases: list[str]
    added: dict[str, dict] = field(default_factory=dict)
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def prompt(self, workflow: dict) -> dict:
        """The API prompt of its nodes; links to others are left out."""
        nodes = {number: workflow[number] for number in self.nodes.split()} | self.added
        prompt = {number: {**node, "inputs": dict(node["inputs"])} for number, node in nodes.items()}
        for (number, key), value in self.values.items():
            prompt[number]["inputs"][key] = value
        for node in prompt.values():
            outside = [key for key, value in node["inputs"].items() if isinstance(value, list) and value[0] not in prompt]
            for key in outside:
                del node["inputs"][key]
        return prompt


_BOTH = ("7", "15")
_SHARED = ("steps", "cfg", "seed", "sampler_name", "scheduler", "window", "overlap")
BLUEPRINTS = {
    "Make a text-to-video graph long": Blueprint(
        workflow="Wan 2.1 1.3B - Three prompts",
        nodes="4 5",
        added={"7": {"class_type": "CoDenoiseModel", "inputs": {"window": 81, "overlap": 12}}},
        inputs={
            "model": [("7", "model")],
            "clip": [("5", "clip")],
            "vae": [("4", "vae")],
            "prompts": [("5", "prompts")],
            "seconds": [("4", "length")],
            "width": [("4", "width")],
            "height": [("4", "height")],
            "fps": [("4", "fps")],
            "window": [("7", "window")],
            "overlap": [("7", "overlap")],
        },
        outputs=[("model", "7", 0), ("positive", "5", 0), ("latent", "4", 0), ("fps", "4", 2)],
        description="Put it in front of the sampler of a text-to-video graph: model, positive and latent go to the "
        "sampler, whose steps, CFG and seed stay. Prompts are lines of 'time: prompt'; window is the clip length that "
        "the model was made for.",
        aliases=["long video", "multi prompt", "longer video", "prompt travel", "context windows"],
    ),
    "Wan 2.2 two-stage long": Blueprint(
        workflow="Wan 2.2 14B - Three prompts, two models",
        nodes="4 5 7 15",
        inputs={
            "high_noise_model": [("7", "model")],
            "low_noise_model": [("15", "model")],
            "clip": [("5", "clip")],
            "vae": [("4", "vae")],
            "negative": [(sampler, "negative") for sampler in _BOTH],
            "prompts": [("5", "prompts")],
            "seconds": [("4", "length")],
            "width": [("4", "width")],
            "height": [("4", "height")],
            "fps": [("4", "fps")],
            "switch_at_step": [("7", "end_at_step"), ("15", "start_at_step")],
            **{key: [(sampler, key) for sampler in _BOTH] for key in _SHARED},
        },
        outputs=[("latent", "15", 0), ("fps", "4", 2)],
        description="In place of the two samplers of a Wan 2.2 14B graph. Both models share the steps and the windows: "
        "the one for high noise makes those up to switch_at_step. Each value is typed once.",
        aliases=["long video", "wan 2.2", "high noise", "low noise", "multi prompt", "two samplers"],
    ),
    "Extend a video by seconds": Blueprint(
        workflow="Wan 2.2 5B - Three prompts, chunk by chunk",
        nodes="5 6 7 8",
        added={
            "17": {"class_type": "EncodeLongVideo", "inputs": {"width": 1280, "height": 704}},
            "18": {"class_type": "ComfyMathExpression", "inputs": {
                "expression": "a + round(b * c)", "values.a": ["17", 1], "values.b": ["19", 0]}},
            "19": {"class_type": "PrimitiveFloat", "inputs": {"value": 10.0}},
        },
        values={
            ("5", "fps"): 24.0, ("8", "fps"): 24.0, ("5", "length"): ["18", 1], ("7", "length"): ["18", 1], ("7", "latent"): ["17", 0],
            ("5", "prompts"): "0s: what the video shows\n50%: what happens then", ("7", "run_name"): "extend",
            ("8", "filename_prefix"): "video/extended",
        },
        inputs={
            "model": [("7", "model")],
            "clip": [("5", "clip"), ("6", "clip")],
            "vae": [("17", "vae"), ("8", "vae"), ("7", "vae")],
            "video": [("17", "video"), ("8", "audio_from")],
            "fps": [("5", "fps"), ("8", "fps"), ("18", "values.c")],
            "seconds": [("19", "value")],
            "prompts": [("5", "prompts")],
            "negative": [("6", "text")],
            "width": [("17", "width")],
            "height": [("17", "height")],
            "chunk": [("7", "chunk")],
            "overlap": [("7", "overlap")],
            "steps": [("7", "steps")],
            "cfg": [("7", "cfg")],
            "seed": [("7", "seed")],
            "filename_prefix": [("8", "filename_prefix")],
        },
        types={"fps": "FLOAT"},
        outputs=[("video", "8", 0), ("latent", "7", 0)],
        description="Goes on with a video for some seconds, chunk by chunk, and saves it. Connect video and fps of Load "
        "Long Video. The times of the prompts count from the beginning of the video. Needs a ComfyUI with Math "
        "Expression.",
        aliases=["extend video", "continue", "longer video", "streaming"],
    ),
    "Mask and repaint": Blueprint(
        workflow="Wan 2.1 VACE 1.3B - Mask and repaint",
        nodes="7 5 6 13 14 15",
        inputs={
            "model": [("14", "model")],
            "clip": [("5", "clip"), ("6", "clip")],
            "vae": [("13", "vae"), ("15", "vae")],
            "video": [("7", "images"), ("13", "control_video"), ("15", "original")],
            "find": [("7", "text")],
            "prompt": [("5", "text")],
            "negative": [("6", "text")],
            "width": [("13", "width")],
            "height": [("13", "height")],
            "detector": [("7", "detector")],
            "segmenter": [("7", "segmenter")],
            "grow": [("7", "grow")],
            "window": [("14", "window")],
            "overlap": [("14", "overlap")],
            "steps": [("14", "steps")],
            "cfg": [("14", "cfg")],
            "seed": [("14", "seed")],
        },
        types={"video": "VIDEO"},
        outputs=[("video", "15", 0), ("mask", "7", 0), ("preview", "7", 3)],
        description="Finds what you name in every frame of a video, paints it anew with a VACE model, and leaves every "
        "other pixel as it was. Connect a VIDEO, best from Load Long Video.",
        aliases=["inpaint video", "edit anything", "replace object", "video edit", "mask"],
    ),
}  # fmt: skip
