"""Lays out the graph-editor workflows from the API prompts beside them.

``python workflows/build_graphs.py [--server http://127.0.0.1:8188]`` reads each ``api/*.json`` and the node
descriptions of a running ComfyUI, and writes ``*.json`` with the same nodes, links and values, in groups, with the notes
of ``notes.py`` and the addresses of ``public_models.py``; and the blueprints of ``blueprints.py`` into ``../subgraphs``.
The ComfyUI is to be the oldest release that the pack supports: newer editors read its graphs, and not the other way
round. What has nodes that it has not is left as it is; name it in a second run with a newer one.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
import uuid
from pathlib import Path

from blueprints import BLUEPRINTS, Blueprint
from notes import NOTES
from public_models import public_models

HERE = Path(__file__).resolve().parent
_MENU = "COMFY_DYNAMICCOMBO_V3"  # a choice that brings inputs of its own
_GROWING = "COMFY_AUTOGROW_V3"  # inputs of which there are as many as are connected
_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", _MENU}
_COLUMN, _GAP, _PAD, _TITLE = 380, 40, 20, 40
#: Room below a node that grows by an image as it runs.
_PREVIEW = {"CoDenoiseKSampler": 320, "SamplerCustomAdvanced": 320, "StreamingExtend": 320, "GroundedMask": 200}
#: What else stands in a node: the timeline, and its second text.
_TALLER = {"MultiPromptSchedule": 300}
_INPUTS, _OUTPUTS = -10, -20  # the numbers that the editor gives a subgraph's own inputs and outputs
_GREEN = {"color": "#232", "bgcolor": "#353"}  # as the editor's own green
#: The groups from left to right: title, colour, and the nodes that belong there.
STAGES = {
    "Models": ("#3f789e", "UNETLoader CheckpointLoaderSimple CLIPLoader VAELoader ControlNetLoader LoraLoaderModelOnly "
               "ModelSamplingSD3 LTXAVTextEncoderLoader LTXVAudioVAELoader LoadVideoPipeline LoadStreamingT2V "
               "LoadMSVid2Vid LoadFollowYourPose GetICLoRAParameters CrossFrameAttention GenLVideoPreset "
               "TuningPreset"),
    "Your video or image": ("#b06634", "LoadLongVideo LoadImage ImageScale GetVideoComponents LTXVPreprocess "
                            "EncodeLongVideo"),
    "Size and length": ("#8A8", "LongLatent EmptyLatentImage ComfyMathExpression PrimitiveFloat"),
    "Prompts": ("#88A", "MultiPromptSchedule CLIPTextEncode"),
    "Masks and controls": ("#a1309b", "GroundedMask SamIdMap ControlPreprocess MaskToImage ControlNetApplyAdvanced "
                           "LongVaceConditioning LongInpaintConditioning DepthConcat LTXVConditioning LTXVAddGuide "
                           "LTXVImgToVideoInplace MiniMaxH3ImageToVideo LTXVConcatAVLatent"),
    "Sampling": ("#8AA", "CoDenoiseKSampler CoDenoiseModel StreamingExtend KSampler InvertLongLatent CFGGuider "
                 "KSamplerSelect ManualSigmas MSVid2VidSigmas RandomNoise SamplerCustomAdvanced RefineLongVideo "
                 "TuneOnVideo LoadTuning LTXVSeparateAVLatent LTXVCropGuides VAEDecode VAEDecodeLoop ImageFromBatch CompositeEdit WindowPlan"),
    "Save": ("#A88", "SaveLongVideo SaveVideo CreateVideo"),
}  # fmt: skip
STAGE_OF = {node: stage for stage, (_, nodes) in STAGES.items() for node in nodes.split()}
#: What a node is changed for before all else; the nodes are green.
CHANGED_FIRST = {
    "LoadImage": "your image in",
    "LoadLongVideo": "your video in",
    "GroundedMask": "what to find, in **text** of",
    "MultiPromptSchedule": "the prompts in",
    "CLIPTextEncode": "the prompt in",
    "LongLatent": "**length** in",
}
#: What app mode shows of a workflow: its widgets as (node, widget), and the node of the result.
APPS = {
    "Demo 01 - Three prompts (runs as shipped)": ([(5, "prompts"), (4, "length"), (7, "seed"), (7, "steps")], 11),
    "Wan 2.2 14B - Three prompts, two models": (
        [(5, "prompts"), (6, "text"), (4, "length"), (4, "width"), (4, "height"), (7, "seed")], 8
    ),
}  # fmt: skip


def is_widget(spec: list) -> bool:
    """Whether an input of /object_info is a widget (a value to type or choose)."""
    return isinstance(spec[0], list) or spec[0] in _WIDGETS


def type_of(spec: list) -> str:
    """The type of an input for a link."""
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def specs_of(described: dict, values: dict, prefix: str = "") -> dict[str, list]:
    """A node's inputs in the editor's order, those that its menus bring among them."""
    specs = {}
    for key, spec in {**described.get("required", {}), **described.get("optional", {})}.items():
        name = f"{prefix}{key}"
        if spec[0] == _GROWING:
            [kind] = spec[1]["template"]["input"]["required"].values()
            specs.update({each: kind for each in sorted(values) if each.startswith(f"{name}.")})
            continue
        specs[name] = spec
        if spec[0] == _MENU:
            options = spec[1]["options"]
            chosen = next((each for each in options if each["key"] == values.get(name)), options[0])
            specs.update(specs_of(chosen["inputs"], values, f"{name}."))
    return specs


def sources_of(prompt: dict, name: str) -> list[str]:
    """The nodes that a node reads from."""
    return [value[0] for value in prompt[name]["inputs"].values() if isinstance(value, list)]


def blocks_of(prompt: dict) -> list[tuple[str, list[str]]]:
    """The groups from left to right, as (stage, nodes): no node reads from a group right of its own.

    A stage comes again where a workflow comes back to it, as one that samples, masks the result and samples again.
    """
    last = [name for name, node in prompt.items() if STAGE_OF[node["class_type"]] == "Save"]
    blocks: list[tuple[str, list[str]]] = [(stage, []) for stage in STAGES if stage != "Save"]
    place: dict[str, int] = {}
    while len(place) + len(last) < len(prompt):
        for name in sorted(set(prompt) - set(place) - set(last), key=int):
            sources = sources_of(prompt, name)
            if not all(source in place for source in sources):
                continue
            kind = prompt[name]["class_type"]
            made = any(STAGE_OF[prompt[source]["class_type"]] == "Sampling" for source in sources)
            stage = "Sampling" if kind == "ImageScale" and made else STAGE_OF[kind]
            least = max((place[source] for source in sources), default=0)
            fitting = [at for at, (each, _) in enumerate(blocks) if each == stage and at >= least]
            if not fitting:
                blocks.append((stage, []))
            place[name] = fitting[0] if fitting else len(blocks) - 1
            blocks[place[name]][1].append(name)
    return [(stage, sorted(names, key=int)) for stage, names in [*blocks, ("Save", last)] if names]


def depth(prompt: dict, name: str, among: list[str]) -> int:
    """Column of a node in its group: one right of the rightmost node there that it reads from."""
    return 1 + max((depth(prompt, each, among) for each in sources_of(prompt, name) if each in among), default=-1)


def role_of(prompt: dict, name: str) -> str:
    """What the conditioning of a node is in the end: positive, negative, or neither ("")."""
    for reader, node in prompt.items():
        for key, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == name:
                role = key if key in ("positive", "negative") else role_of(prompt, reader)
                if role:
                    return role
    return ""


def noise_of(prompt: dict, name: str) -> str:
    """high or low where a node's model is one of a pair for high and low noise, else ""."""
    node = prompt[name]
    file = str(node["inputs"].get("unet_name", ""))
    if "_noise" in file:
        return "high" if "high_noise" in file else "low"
    model = node["inputs"].get("model")
    return noise_of(prompt, model[0]) if isinstance(model, list) else ""


def title_of(prompt: dict, name: str, info: dict) -> str | None:
    """A node's title where its own name does not say which it is."""
    kind = prompt[name]["class_type"]
    if kind == "CLIPTextEncode":
        return "Negative prompt" if role_of(prompt, name) == "negative" else "Prompt"
    noise = "" if kind == "StreamingExtend" else noise_of(prompt, name)
    return f"{info[kind]['display_name']}: {noise} noise" if noise else None


def changed_first(prompt: dict) -> list[str]:
    """The nodes that are changed before all others, in the order of ``CHANGED_FIRST``."""
    found = [
        name
        for kind in CHANGED_FIRST
        for name in sorted(prompt, key=int)
        if prompt[name]["class_type"] == kind and not (kind == "CLIPTextEncode" and role_of(prompt, name) == "negative")
    ]
    return [name for name in found if prompt[name]["inputs"].get("text", "something")]


def note_of(prompt: dict, info: dict, note: str) -> str:
    """The note beside the graph, and what to change first."""
    wanted: list[str] = []
    for name in changed_first(prompt):
        kind = prompt[name]["class_type"]
        line = f"{CHANGED_FIRST[kind]} **{title_of(prompt, name, info) or info[kind]['display_name']}**"
        if line not in wanted:
            wanted.append(line)
    return f"{note}\n\n**Change first** (green): {'; '.join(wanted)}."


def node_of(prompt: dict, name: str, info: dict, fed: set[str] | frozenset[str] = frozenset()) -> dict:
    """A node of the graph, without its place and links; ``fed``: inputs that a blueprint's own inputs feed."""
    node, description = prompt[name], info[prompt[name]["class_type"]]
    specs = specs_of(description["input"], {**dict.fromkeys(fed), **node["inputs"]})
    inputs, values = [], []
    sockets = rows = 0
    for key, spec in specs.items():
        value = node["inputs"].get(key)
        linked = isinstance(value, list)
        options = spec[1] if len(spec) > 1 else {}
        entry = {"name": key, "type": type_of(spec), "link": None}
        if is_widget(spec):
            entry["widget"] = {"name": key}
            default = options.get("default", spec[0][0] if isinstance(spec[0], list) and spec[0] else None)
            values.append(default if linked or value is None else value)
            if options.get("control_after_generate"):
                values.append("fixed")
        if linked or key in fed or not is_widget(spec):
            inputs.append(entry)
        sockets += not is_widget(spec)
        rows += is_widget(spec) and (linked or key in fed or not options.get("advanced"))  # the others are folded
    multiline = any(spec[0] == "STRING" and len(spec) > 1 and spec[1].get("multiline") for spec in specs.values())
    rows += max(sockets, len(description["output"]))
    models = public_models(values)
    made = {
        "id": int(name),
        "type": node["class_type"],
        "size": [_COLUMN, 70 + 26 * rows + (150 if multiline else 0) + _TALLER.get(node["class_type"], 0)],
        "flags": {},
        "mode": 0,
        "inputs": inputs,
        "outputs": [
            {"name": label, "type": kind, "links": []}
            for label, kind in zip(description["output_name"], description["output"], strict=True)
        ],
        "properties": {"Node name for S&R": node["class_type"], **({"models": models} if models else {})},
        "widgets_values": values,
    }
    title = title_of(prompt, name, info)
    green = _GREEN if name in changed_first(prompt) else {}
    return {**made, **({"title": title} if title else {}), **green}


def lay_out(prompt: dict, nodes: dict[str, dict]) -> list[dict]:
    """Gives the nodes their places and order; returns the groups around them."""
    groups: list[dict] = []
    left, order = 0, 0
    blocks = blocks_of(prompt)
    for at, (stage, names) in enumerate(blocks):
        samples = any(prompt[name]["class_type"] in _PREVIEW for name in names)
        again = stage == "Sampling" and samples and any(later == stage for later, _ in blocks[at + 1 :])
        heights: dict[int, int] = {}
        for name in names:
            node, column = nodes[name], depth(prompt, name, names)
            node["pos"] = [left + _PAD + column * (_COLUMN + _GAP), heights.get(column, 0)]
            node["order"] = order = order + 1
            heights[column] = (
                heights.get(column, 0) + node["size"][1] + _GAP + 30 + _PREVIEW.get(node["type"], 0)
            )
        width = 2 * _PAD + len(heights) * (_COLUMN + _GAP) - _GAP
        top = -30 - _TITLE
        groups.append({
            "id": len(groups) + 1, "title": f"{stage}: the video to begin with" if again else stage,
            "bounding": [left, top, width, max(heights.values()) - top - _GAP],
            "color": STAGES[stage][0], "font_size": 24, "flags": {},
        })  # fmt: skip
        left += width + _GAP
    return groups


def build(prompt: dict, info: dict, note: str, app: tuple[list, int] | None = None) -> dict:
    """A graph-editor workflow with the nodes, links and values of an API prompt."""
    links: list[list] = []
    nodes = {name: node_of(prompt, name, info) for name in sorted(prompt, key=int)}
    groups = lay_out(prompt, nodes)
    for name, node in prompt.items():
        for slot, entry in enumerate(nodes[name]["inputs"]):
            value = node["inputs"].get(entry["name"])
            if isinstance(value, list):
                source, output = value
                entry["link"] = len(links) + 1
                nodes[source]["outputs"][output]["links"].append(entry["link"])
                kind = nodes[source]["outputs"][output]["type"]
                links.append([entry["link"], int(source), output, int(name), slot, kind])
    text = {
        "id": 100, "type": "MarkdownNote", "pos": [0, -430], "size": [2 * _COLUMN, 320], "flags": {}, "order": 0,
        "mode": 0, "inputs": [], "outputs": [], "title": "Read me", "properties": {},
        "widgets_values": [note_of(prompt, info, note)],
    }  # fmt: skip
    extra = {}
    if app:  # what the editor calls linear; it opens as a graph
        shown = [[str(node), widget] for node, widget in app[0]]
        extra = {"linearMode": False, "linearData": {"inputs": shown, "outputs": [str(app[1])]}}
    return {
        "last_node_id": 100, "last_link_id": len(links), "nodes": [text, *nodes.values()], "links": links,
        "groups": groups, "config": {}, "extra": extra, "version": 0.4,
    }  # fmt: skip


def build_blueprint(name: str, blueprint: Blueprint, workflow: dict, info: dict) -> dict:
    """A subgraph as the editor's blueprints are: a graph of one node, and the definition of what is in it."""

    def identity(*names: str) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join((name, *names))))

    prompt = blueprint.prompt(workflow)
    feeds = {target: slot for slot, targets in enumerate(blueprint.inputs.values()) for target in targets}
    nodes = {
        number: node_of(prompt, number, info, {key for target, key in feeds if target == number})
        for number in sorted(prompt, key=int)
    }
    for number in set(nodes) & set(workflow):
        if title := title_of(workflow, number, info):
            nodes[number]["title"] = title
    groups = lay_out(prompt, nodes)
    links: list[dict] = []
    inputs = [{"id": identity("input", each), "name": each, "linkIds": []} for each in blueprint.inputs]
    outputs = [{"id": identity("output", each), "name": each, "linkIds": []} for each, _, _ in blueprint.outputs]
    widgets: dict[str, object] = {}

    def link(origin: tuple[int, int], target: tuple[int, int], kind: str) -> int:
        links.append({
            "id": len(links) + 1, "origin_id": origin[0], "origin_slot": origin[1], "target_id": target[0],
            "target_slot": target[1], "type": kind,
        })  # fmt: skip
        return len(links)

    for number, node in nodes.items():
        for slot, entry in enumerate(node["inputs"]):
            value = prompt[number]["inputs"].get(entry["name"])
            if (number, entry["name"]) in feeds:
                at = feeds[number, entry["name"]]
                outer = inputs[at]
                kind = outer.setdefault("type", blueprint.types.get(outer["name"], entry["type"]))
                entry["link"] = link((_INPUTS, at), (int(number), slot), kind)
                outer["linkIds"].append(entry["link"])
                if "widget" in entry:
                    outer["widget"] = {"name": outer["name"]}
                    widgets.setdefault(outer["name"], value)
            elif isinstance(value, list):
                source = nodes[value[0]]["outputs"][value[1]]
                entry["link"] = link((int(value[0]), value[1]), (int(number), slot), source["type"])
                source["links"].append(entry["link"])
    for at, (_, number, slot) in enumerate(blueprint.outputs):
        source = nodes[number]["outputs"][slot]
        outputs[at] |= {"type": source["type"], "linkIds": [link((int(number), slot), (_OUTPUTS, at), source["type"])]}
        source["links"].extend(outputs[at]["linkIds"])
    shown_values = {each: widgets[each] for each in blueprint.inputs if each in widgets}
    right = groups[-1]["bounding"][0] + groups[-1]["bounding"][2] + 60
    definition = {
        "id": identity(), "version": 1, "revision": 0, "config": {}, "name": name,
        "state": {"lastGroupId": len(groups), "lastNodeId": 100, "lastLinkId": len(links), "lastRerouteId": 0},
        "inputNode": {"id": _INPUTS, "bounding": [-240, 0, 160, 40 + 20 * len(inputs)]},
        "outputNode": {"id": _OUTPUTS, "bounding": [right, 0, 160, 40 + 20 * len(outputs)]},
        "inputs": [{key: value for key, value in each.items() if key != "widget"} for each in inputs],
        "outputs": outputs, "widgets": [], "nodes": list(nodes.values()), "groups": groups, "links": links,
        "extra": {}, "category": "Video generation and editing/Long video", "description": blueprint.description,
    }  # fmt: skip
    shown = [{key: each[key] for key in ("name", "type", "widget") if key in each} | {"link": None} for each in inputs]
    node = {
        "id": 100, "type": identity(), "pos": [0, 0], "size": [_COLUMN, 60 + 26 * len(inputs)], "flags": {}, "order": 0,
        "mode": 0, "title": name, "inputs": shown,
        "outputs": [{"name": each["name"], "type": each["type"], "links": None} for each in outputs],
        "properties": {"proxyWidgets": [["-1", each] for each in shown_values]},
        "widgets_values": list(shown_values.values()),
    }  # fmt: skip
    return {
        "revision": 0, "last_node_id": 100, "last_link_id": 0, "nodes": [node], "links": [], "groups": [], "config": {},
        "extra": {"BlueprintDescription": blueprint.description, "BlueprintSearchAliases": blueprint.aliases},
        "version": 0.4, "definitions": {"subgraphs": [definition]},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of a running ComfyUI with the pack")
    parser.add_argument("names", nargs="*", help="workflows and blueprints (default: all)")
    given = parser.parse_args()
    with urllib.request.urlopen(f"{given.server}/object_info") as answer:
        info = json.load(answer)
    prompts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((HERE / "api").glob("*.json"))}
    parts = {name: each.prompt(prompts[each.workflow]) for name, each in BLUEPRINTS.items()}
    if unexplained := set(prompts) - set(NOTES):
        parser.error(f"NOTES has no text for {', '.join(sorted(unexplained))}. Write what is shown beside the graph.")
    if unknown := set(given.names) - set(prompts) - set(parts):
        parser.error(f"There is no {', '.join(sorted(unknown))} in {HERE / 'api'} and BLUEPRINTS.")
    for name in given.names or (prompts | parts):
        prompt = parts.get(name) or prompts[name]
        kinds = {node["class_type"] for node in prompt.values()}
        if missing := kinds - set(info):
            print(f"{name} is left as it is: this ComfyUI has no {', '.join(sorted(missing))}.")
            continue
        if homeless := kinds - set(STAGE_OF):
            parser.error(f"STAGES has no place for {', '.join(sorted(homeless))}, which {name} has.")
        if name in parts:
            blueprint = BLUEPRINTS[name]
            graph = build_blueprint(name, blueprint, prompts[blueprint.workflow], info)
            place = HERE.parent / "subgraphs"
        else:
            graph, place = build(prompt, info, NOTES[name], APPS.get(name)), HERE
        place.mkdir(exist_ok=True)
        (place / f"{name}.json").write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
