"""The list of what is used of ComfyUI: complete, without what is used no more, and a check that can fail."""

from __future__ import annotations

import ast
import sys
import types
from collections import defaultdict
from pathlib import Path

import pytest

from glv_core.hosts.comfy.host_symbols import SYMBOLS, Symbol, missing, problem, report

ROOT = Path(__file__).resolve().parents[4]
HOST = {
    "app", "comfy", "comfy_api", "comfy_execution", "comfy_extras", "comfyui_version", "execution", "folder_paths",
    "latent_preview", "node_helpers", "nodes", "server",
}  # fmt: skip
LIST = ROOT / "glv_core/hosts/comfy/host_symbols.py"
FILES = [
    path
    for path in (ROOT / "__init__.py", *(ROOT / "nodes").rglob("*.py"), *(ROOT / "glv_core/hosts/comfy").rglob("*.py"))
    if path != LIST
]
#: What these hold is reached through objects, so that the code says no more than its last name.
HELD_BY_OBJECTS = (
    "comfy.clip_model.CLIPTextModel", "comfy.clip_vision.ClipVisionModel", "comfy.conds.CONDRegular",
    "comfy.context_windows.ContextHandlerABC", "comfy.ldm.modules.diffusionmodules.openaimodel.UNetModel",
    "comfy.ldm.sam3.detector.SAM3Model", "comfy.ldm.sam3.tracker.SAM3Tracker", "comfy.ldm.sam3.tracker.SAM31Tracker",
    "comfy.supported_models.SVD_img2vid", "comfy.samplers.CFGGuider", "comfy.weight_adapter.BypassInjectionManager",
    "comfy.weight_adapter.lora.LoRAAdapter",
    "comfy.model_base.BaseModel", "comfy.model_patcher.ModelPatcher", "comfy.model_sampling.ModelSamplingDiscrete",
    "comfy.patcher_extension.WrappersMP",
    "comfy.utils.ProgressBar", "comfy_api.latest.InputImpl.VideoFromFile", "comfy_api.latest.io.ComfyNode",
    "comfy_api.latest.ui.PreviewImage", "latent_preview.Latent2RGBPreviewer", "server.PromptServer",
)  # fmt: skip
#: Of these, families and others name classes as text.
NAMED_AS_TEXT = ("comfy.latent_formats", "comfy.model_base", "comfy_extras.nodes_easycache")
#: Networks that are called, and what the host calls through the pack's wrappers.
CALLED = {
    "comfy.ldm.rt_detr.rtdetr_v4.RTv4.forward",
    "comfy.ldm.sam3.detector.SAM3Detector.forward",
    "comfy.ldm.sam3.sam.SAM3VisionBackbone.forward",
    "comfy.ldm.sam3.sam.ViTDet.forward", "comfy.ldm.wan.vae.Decoder3d.forward",
    "comfy.ldm.wan.vae.Encoder3d.forward", "comfy.ldm.wan.vae2_2.Decoder3d.forward",
    "comfy.ldm.wan.vae2_2.Encoder3d.forward", "comfy.sampler_helpers.prepare_sampling",
    "comfy.samplers.CFGGuider.outer_sample", "comfy.samplers.KSAMPLER.sample",
}  # fmt: skip


def uses(tree: ast.Module) -> dict[str, set[str]]:
    """Dotted names of the host in a file -> the keywords that they are called with; modules alone are left out."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.split(".")[0]
                if top in HOST:
                    names[each.asname or top] = each.name if each.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in HOST:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, "")
        if isinstance(node, ast.Attribute):
            inner = dotted(node.value)
            return inner and f"{inner}.{node.attr}"
        return ""

    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Name)) and id(node) not in inner and dotted(node):
            found[dotted(node)] |= set()
        if isinstance(node, ast.Call) and dotted(node.func):
            found[dotted(node.func)] |= {each.arg for each in node.keywords if each.arg}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            of, *name = node.args
            if dotted(of) and isinstance(name[0], ast.Constant):
                found[f"{dotted(of)}.{name[0].value}"] |= set()
    return found


def most_by_position(tree: ast.Module) -> dict[str, int]:
    """Dotted names of the host that a file calls -> how many arguments they are given by position, at most."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name.split(".")[0]: each.name.split(".")[0] for each in node.names if not each.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    counts: dict[str, int] = defaultdict(int)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and not any(isinstance(each, ast.Starred) for each in node.args):
            first, _, rest = ast.unparse(node.func).partition(".")
            if first in names and names[first].split(".")[0] in HOST:
                name = f"{names[first]}.{rest}" if rest else names[first]
                counts[name] = max(counts[name], len(node.args))
    return counts


def test_as_many_arguments_are_listed_as_are_given_by_position():
    given: dict[str, int] = defaultdict(int)
    for path in FILES:
        for name, count in most_by_position(ast.parse(path.read_text())).items():
            given[name] = max(given[name], count)
    counts = {symbol.name.rstrip("."): symbol.positional for symbol in SYMBOLS if symbol.needed}
    assert given["comfy.sample.sample"] == 9  # that the scan sees them
    assert {name: count for name, count in given.items() if name in counts and count > counts[name]} == {}


@pytest.fixture(scope="module")
def used():
    together = defaultdict(set)
    for path in FILES:
        for name, keywords in uses(ast.parse(path.read_text())).items():
            together[name] |= keywords
    return together


def listed() -> dict[str, set[str]]:
    together = defaultdict(set)
    for symbol in SYMBOLS:
        together[symbol.name.rstrip(".")] |= set(symbol.keywords)
    return together


def test_everything_that_is_used_is_in_the_list(used):
    modules = {"comfy.model_management"}  # asked for one name at a time
    known = listed()
    # What a listed thing holds in turn, such as the list of loaded models, is Python's own.
    plain = {"comfy.model_management.current_loaded_models.remove"}
    absent = {name: keywords for name, keywords in used.items() if name not in {*known, *modules, *plain}}
    assert not absent
    unknown = {name: keywords - known[name] for name, keywords in used.items() if name in known}
    assert not {name: keywords for name, keywords in unknown.items() if keywords}


@pytest.fixture(scope="module")
def words():
    """Everything in the code that may be a name of an attribute: ``x.name``, ``"name"`` and ``def name``."""
    found = set()
    for node in (node for path in FILES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


def test_nothing_is_listed_that_is_not_used(used, words):
    stale = []
    for symbol in SYMBOLS:
        name = symbol.name.rstrip(".")
        place, _, last = name.rpartition(".")
        if not (
            name in used
            or name in words
            or name in CALLED
            or ((symbol.of_object or place in HELD_BY_OBJECTS or place in NAMED_AS_TEXT) and last in words)
        ):
            stale.append(symbol.name)
    assert stale == []


def test_every_class_that_a_family_names_is_listed():
    """Of the keyword arguments of ``Family``, those that are names of classes."""
    places = {"latent_formats": "comfy.latent_formats.", "classes": "comfy.model_base.", "vae_classes": ""}
    named = set()
    for path in (ROOT / "glv_core/hosts/comfy/families").glob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            for each in call.keywords:
                if ast.unparse(call.func) == "Family" and each.arg in places:
                    named |= {places[each.arg] + name for name in ast.literal_eval(each.value)}
    assert "comfy.latent_formats.Wan21" in named and "comfy.ldm.wan.vae.WanVAE" in named
    assert named <= {symbol.name for symbol in SYMBOLS}


def test_no_name_is_listed_twice():
    seen = [(symbol.name, symbol.needed) for symbol in SYMBOLS]
    assert len(set(seen)) == len(seen)
    assert all(symbol.use for symbol in SYMBOLS)


@pytest.fixture
def host():
    """A module that stands for a release of the host."""
    module = types.ModuleType("a_host")

    class Thing:
        level = 3

        def run(self, x, speed, *, loud=False):
            return x

    def make(a, b=1, **more):
        return a

    module.Thing, module.make, module.made = Thing, make, Thing()
    sys.modules["a_host"] = module
    yield module
    del sys.modules["a_host"]


@pytest.mark.parametrize(
    ("symbol", "wrong"),
    [
        (Symbol("a_host.make", "", ("anything",), 2), None),
        (Symbol("a_host.make", "", (), 3), "takes 2 arguments by position, not 3"),
        (Symbol("a_host.Thing.run", "", ("speed", "loud"), 2), None),
        (Symbol("a_host.Thing.run", "", ("slow", "loud", "soft"), 2), "takes no slow, soft"),
        (Symbol("a_host.Thing.run", "", (), 3), "takes 2 arguments by position, not 3"),
        (Symbol("a_host.Thing.level", ""), None),
        (Symbol("a_host.Thing.depth", ""), "Thing has no depth"),
        (Symbol("a_host.other.thing", ""), "a_host has no other"),
        (Symbol("<thing>.run", "", ("loud",), 2), None),
        (Symbol("<thing>.run", "", ("quiet",), 2), "takes no quiet"),
        (Symbol("<thing>.gone", ""), "Thing has no gone"),
    ],
)
def test_what_is_missing_or_has_changed_is_said(host, symbol, wrong):
    assert problem(symbol, {"thing": host.made}) == wrong


def test_the_table_names_what_is_needed_first(host):
    symbols = (
        Symbol("a_host.gone", "nothing much", needed=False),
        Symbol("a_host.make", "making", (), 1),
        Symbol("a_host.Thing.run", "running", ("fast",)),
    )
    assert report(missing({}, symbols)).splitlines() == [
        "symbol                       used for      what is wrong",
        "a_host.Thing.run  needed     running       takes no fast",
        "a_host.gone       asked for  nothing much  a_host has no gone",
    ]
