"""The blueprints in ComfyUI's own front end: found by search, dropped in, connected, and run with the demo weights."""

import json
import time
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BLUEPRINTS = sorted(path.stem for path in (ROOT / "subgraphs").glob("*.json"))
DEMO, VACE = "demo model (built in)", "demo model with VACE (built in)"
RED, BLUE = "a red circle moving right on a white background", "a blue square moving right on a white background"


@pytest.fixture
def editor(newer_editor, page):
    """The newer editor."""
    return page


def drop(page, name, graph=None):
    """A new graph, or this one, with a blueprint in it, by the search that a double click opens: its number."""
    nodes = page.evaluate(
        """async (graph) => {
            const used = window.app.graph.last_node_id;
            window.app.graph.clear();
            window.app.graph.last_node_id = used;
            if (graph) await window.app.loadGraphData(graph);
            window.app.canvas.ds.scale = 1;
            window.app.canvas.ds.offset = [5000, 5000];  // where nothing is
            window.app.canvas.setDirty(true, true);
            return window.app.graph.nodes.length;
        }""",
        graph,
    )
    search = page.locator("input:focus")
    for _ in range(20):  # the canvas takes no double click right after other clicks
        page.mouse.dblclick(900, 600)
        time.sleep(0.5)
        if search.count():
            break
    search.wait_for()
    page.keyboard.type(name)
    page.get_by_text(name, exact=True).first.wait_for()
    page.keyboard.press("Enter")
    page.wait_for_function("(nodes) => window.app.graph.nodes.length === nodes + 1", arg=nodes)
    page.mouse.click(500, 400)  # where it is put down
    return page.evaluate("() => window.app.graph.nodes.find((node) => node.subgraph).id")


def queued(page, number, others, links, values):
    """The API prompt of a graph of a blueprint and nodes beside it.

    Args:
        others: name -> (node type, values of its widgets).
        links: (from, output, to, input) by names; the blueprint is "it".
        values: the blueprint's widgets.
    """
    return page.evaluate(
        """async ([number, others, links, values]) => {
            const graph = window.app.graph, made = {it: graph.getNodeById(number)};
            const set = (node, values) => {
                for (const [name, value] of Object.entries(values)) {
                    const widget = node.widgets.find((each) => each.name === name);
                    if (!widget) throw new Error(name + " is not among " + node.widgets.map((each) => each.name));
                    widget.value = value;
                    widget.callback?.(value);
                }
            };
            for (const [name, [type, values]] of Object.entries(others)) {
                made[name] = window.LiteGraph.createNode(type);
                graph.add(made[name]);
                set(made[name], values);
            }
            set(made.it, values);
            for (const [from, output, to, input] of links) {
                const at = made[from].outputs.findIndex((each) => each.name === output);
                const into = made[to].inputs.findIndex((each) => each.name === input);
                if (at < 0 || into < 0) throw new Error([from, output, to, input].join(" "));
                if (!made[from].connect(at, made[to], into)) throw new Error("refused " + [from, to, input].join(" "));
            }
            return (await window.app.graphToPrompt()).output;
        }""",
        [number, others, links, values],
    )


def test_core_s_own_wan_template_takes_one_blueprint(editor, server):
    """Six links and the prompts: the sampler of the template keeps its values, and nothing is typed twice."""
    template = server.get("/templates/text_to_video_wan.json")
    number = drop(editor, "Make a text-to-video graph long", template)
    own = {node["type"]: node["id"] for node in template["nodes"]}
    links = [
        (own["ModelSamplingSD3"], 0, number, 0), (own["CLIPLoader"], 0, number, 1), (own["VAELoader"], 0, number, 2),
        (number, 0, own["KSampler"], 0), (number, 1, own["KSampler"], 1), (number, 2, own["KSampler"], 3),
    ]  # fmt: skip
    text = f"0s: {RED}\n5s: {BLUE}\n10s: {RED}"
    prompt = editor.evaluate(
        """async ([number, links, text]) => {
            const graph = window.app.graph;
            for (const [from, output, to, input] of links)
                graph.getNodeById(from).connect(output, graph.getNodeById(to), input);
            graph.getNodeById(number).widgets.find((each) => each.name === "prompts").value = text;
            return (await window.app.graphToPrompt()).output;
        }""",
        [number, links, text],
    )
    ours = {node["class_type"]: key for key, node in prompt.items() if key.startswith(f"{number}:")}
    assert set(ours) == {"LongLatent", "MultiPromptSchedule", "CoDenoiseModel"}
    sampler = prompt[str(own["KSampler"])]["inputs"]
    shipped = next(node["widgets_values"] for node in template["nodes"] if node["type"] == "KSampler")
    assert [sampler[key] for key in ("steps", "cfg", "sampler_name", "scheduler", "denoise")] == shipped[2:]
    assert sampler["model"] == [ours["CoDenoiseModel"], 0] and sampler["latent_image"] == [ours["LongLatent"], 0]
    assert sampler["positive"] == [ours["MultiPromptSchedule"], 0]
    assert prompt[ours["MultiPromptSchedule"]]["inputs"]["prompts"] == text
    sizes = next(node["widgets_values"] for node in template["nodes"] if node["type"] == "EmptyHunyuanLatentVideo")
    latent = prompt[ours["LongLatent"]]["inputs"]
    assert [latent["width"], latent["height"]] == sizes[:2] and latent["length"] == 15
    places = {"UNETLoader": "diffusion_models", "CLIPLoader": "text_encoders", "VAELoader": "vae"}
    for kind, folder in places.items():
        inputs = prompt[str(own[kind])]["inputs"]
        [named] = [value for value in inputs.values() if value.endswith(".safetensors")]
        file = server.base / "models" / folder / named
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 200 and answer["node_errors"] == {}
    server.post("/queue", {"clear": True})
    server.post("/interrupt", {})


def frames_of(server, prefix):
    """Frames ``t h w c`` (uint8) of the newest video that was saved under a prefix."""
    path = max((server.base / "output").glob(f"{prefix}*.mp4"), key=lambda each: each.stat().st_mtime_ns)
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def draw_clip(path, frames=33):
    """A red circle on white that moves right, 64 x 64 pixels at 16 fps."""
    rows, columns = np.mgrid[:64, :64]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, options={"crf": "4"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            image = np.full((64, 64, 3), 255, np.uint8)
            image[(rows - 32) ** 2 + (columns - 20 - number * 0.7) ** 2 < 144] = (230, 20, 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def test_the_host_lists_every_blueprint(server):
    listed = server.get("/global_subgraphs").values()
    assert sorted(each["name"] for each in listed if each["source"] == "custom_node") == BLUEPRINTS
    assert len(BLUEPRINTS) == 4


@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_is_found_dropped_in_and_has_its_values(editor, name):
    """Its widgets show what the file says, and no node in it is unknown to the editor."""
    number = drop(editor, name)
    shipped = json.loads((ROOT / "subgraphs" / f"{name}.json").read_text())["nodes"][0]
    [node] = editor.evaluate(
        """() => window.app.graph.nodes.map((node) => ({
            title: node.title,
            inputs: node.inputs.map((each) => each.name),
            outputs: node.outputs.map((each) => each.name),
            widgets: node.widgets.map((each) => [each.name, each.value]),
            unknown: node.subgraph.nodes.filter((n) => !(n.type in window.LiteGraph.registered_node_types)).length,
        }))"""
    )
    assert node["title"] == name and node["unknown"] == 0
    assert node["inputs"] == [each["name"] for each in shipped["inputs"]]
    assert node["outputs"] == [each["name"] for each in shipped["outputs"]]
    names = [each[1] for each in shipped["properties"]["proxyWidgets"]]
    assert node["widgets"] == [list(each) for each in zip(names, shipped["widgets_values"], strict=True)]
    assert None not in shipped["widgets_values"] and number


LOADER = {"load": ["LoadVideoPipeline", {"pipeline": DEMO}]}
MODELS = [("load", each, "it", each) for each in ("model", "clip", "vae")]


def save(prefix):
    return ["SaveLongVideo", {"filename_prefix": prefix, "fps": 16, "crf": 4}]


def test_a_text_to_video_graph_becomes_long(editor, server):
    """Core's graph keeps its sampler and its negative prompt."""
    number = drop(editor, "Make a text-to-video graph long")
    prompt = queued(
        editor, number,
        {**LOADER, "text": ["CLIPTextEncode", {"text": ""}], "save": save("long"),
         "sample": ["KSampler", {"seed": 1, "steps": 8, "cfg": 2, "sampler_name": "uni_pc", "scheduler": "simple"}]},
        [*MODELS, ("load", "clip", "text", "clip"), ("text", "CONDITIONING", "sample", "negative"),
         ("it", "model", "sample", "model"), ("it", "positive", "sample", "positive"),
         ("it", "latent", "sample", "latent_image"), ("sample", "LATENT", "save", "samples"),
         ("load", "vae", "save", "vae"), ("it", "fps", "save", "fps")],
        {"prompts": f"0s: {RED}\n5s [ease 0.5s]: {BLUE}", "seconds": 10, "width": 64, "height": 64, "window": 61,
         "overlap": 8},
    )  # fmt: skip
    history, _ = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    frames = frames_of(server, "long").astype(int)
    assert frames.shape == (161, 64, 64, 3)
    red, blue = (frames[part].reshape(-1, 64, 64, 3) for part in (slice(0, 60), slice(100, 161)))
    for part, channel, other in ((red, 0, 2), (blue, 2, 0)):
        middle = np.quantile(part[..., channel] - part[..., other], 0.98)
        assert middle > 80 and np.quantile(part[..., other] - part[..., channel], 0.98) < 80


def test_two_stages_make_what_one_sampler_makes(editor, server):
    """The same model twice: with Wan's two the switch is the only difference."""
    values = {"prompts": f"0s: {RED}", "seconds": 6, "width": 64, "height": 64, "window": 61, "overlap": 8, "steps": 6,
              "cfg": 2, "seed": 5, "switch_at_step": 2}  # fmt: skip
    number = drop(editor, "Wan 2.2 two-stage long")
    shared = {key: values[key] for key in ("steps", "cfg", "seed", "window", "overlap")}
    prompt = queued(
        editor, number,
        {**LOADER, "text": ["CLIPTextEncode", {"text": ""}], "save": save("two"), "save one": save("one"),
         "latent": ["LongLatent", {"width": 64, "height": 64, "length": 6, "unit": "seconds"}],
         "prompt": ["CLIPTextEncode", {"text": RED}], "one": ["CoDenoiseKSampler", shared]},
        [("load", "model", "it", "high_noise_model"), ("load", "model", "it", "low_noise_model"), *MODELS[1:],
         ("load", "clip", "text", "clip"), ("text", "CONDITIONING", "it", "negative"),
         ("it", "latent", "save", "samples"), ("load", "vae", "save", "vae"),
         ("load", "vae", "latent", "vae"), ("load", "clip", "prompt", "clip"), ("load", "model", "one", "model"),
         ("prompt", "CONDITIONING", "one", "positive"), ("text", "CONDITIONING", "one", "negative"),
         ("latent", "latent", "one", "latent_image"), ("one", "latent", "save one", "samples"),
         ("load", "vae", "save one", "vae")],
        values,
    )  # fmt: skip
    stages = [node["inputs"] for node in prompt.values() if node["class_type"] == "CoDenoiseKSampler"]
    assert sorted((each["start_at_step"], min(each["end_at_step"], 6)) for each in stages) == [(0, 2), (0, 6), (2, 6)]
    history, _ = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    two, one = frames_of(server, "two").astype(int), frames_of(server, "one").astype(int)
    assert two.shape == one.shape == (97, 64, 64, 3)
    assert np.abs(two - one).mean() < 1 < np.abs(one[::-1] - one).mean() / 4  # but for the encoder's rounding


def test_a_video_goes_on_for_the_seconds_that_are_asked(editor, server):
    draw_clip(server.base / "input" / "drawn.mp4")
    number = drop(editor, "Extend a video by seconds")
    prompt = queued(
        editor, number,
        {**LOADER, "video": ["LoadLongVideo", {}]},
        [*MODELS, ("video", "video", "it", "video"), ("video", "fps", "it", "fps")],
        {"prompts": f"0s: {RED}", "negative": "", "seconds": 4, "width": 64, "height": 64, "chunk": 61, "overlap": 17,
         "steps": 6, "cfg": 2, "filename_prefix": "more"},
    )  # fmt: skip
    [loader] = [node for node in prompt.values() if node["class_type"] == "LoadLongVideo"]
    loader["inputs"]["file"] = "drawn.mp4"  # the editor's menu was made before there was this file
    history, _ = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    frames = frames_of(server, "more")
    assert frames.shape == (33 + 4 * 16, 64, 64, 3)
    red = frames[..., 0].astype(int) - frames[..., 1]
    assert (red[:33].max(axis=(1, 2)) > 100).all() and (red[-16:].max(axis=(1, 2)) > 80).mean() > 0.5


def test_what_is_found_is_painted_anew_and_the_rest_stays(editor, server):
    draw_clip(server.base / "input" / "drawn.mp4")
    number = drop(editor, "Mask and repaint")
    prompt = queued(
        editor, number,
        {"load": ["LoadVideoPipeline", {"pipeline": VACE}], "video": ["LoadLongVideo", {}], "save": save("painted")},
        [*MODELS, ("video", "video", "it", "video"), ("it", "video", "save", "video")],
        {"find": "circle", "prompt": BLUE, "negative": "", "width": 64, "height": 64, "window": 61, "overlap": 8,
         "steps": 12, "cfg": 2, "grow": 3, "detector": "shapes of the demo model (built in)"},
    )  # fmt: skip
    [loader] = [node for node in prompt.values() if node["class_type"] == "LoadLongVideo"]
    loader["inputs"]["file"] = "drawn.mp4"
    history, _ = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    frames = frames_of(server, "painted").astype(int)
    assert frames.shape == (33, 64, 64, 3)
    assert (frames[:, :12] > 240).all()  # above the circle
    blue = (frames[..., 2] - frames[..., 0]).max(axis=(1, 2))
    assert (blue > 80).mean() > 0.8 and ((frames[..., 0] - frames[..., 2]).max(axis=(1, 2)) < 120).mean() > 0.8
