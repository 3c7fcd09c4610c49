"""Promises of the repository itself: the README's commands, the pack's metadata, and what the pack may import."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_ci_runs_the_readmes_test_command():
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert "pytest" in command and f"\n{command}\n" in (ROOT / "README.md").read_text()


def test_requirements_never_touch_the_hosts_torch():
    wanted = [*PROJECT["project"]["dependencies"], *(ROOT / "requirements.txt").read_text().splitlines()]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in wanted if line and not line.startswith("#")}
    assert not names & {"torch", "torchvision", "torchaudio", "xformers", "triton", "diffusers", "transformers"}


def test_registry_metadata():
    assert "comfyui" not in PROJECT["project"]["name"].lower()
    assert PROJECT["tool"]["comfy"]["PublisherId"] and PROJECT["tool"]["comfy"]["DisplayName"]
    assert "Apache License" in (ROOT / PROJECT["project"]["license"]["file"]).read_text()


def test_readme_and_help_name_the_comfyuis_that_were_run():
    oldest, newest = PROJECT["tool"]["genlong"]["tested-comfyui"]
    assert PROJECT["tool"]["comfy"]["requires-comfyui"] == f">={oldest}"
    for text in ((ROOT / "README.md").read_text(), (ROOT / "web" / "docs" / "CoDenoiseKSampler.md").read_text()):
        assert set(re.findall(r"ComfyUI (\d+\.\d+\.\d+)", text)) <= {oldest, newest}
        assert f"ComfyUI {oldest}" in text and newest in text


def test_the_demo_model_is_small_and_safe():
    files = [path for path in (ROOT / "glv_core" / "demo" / "model").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert not [path.name for path in files if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    index = json.loads((ROOT / "glv_core" / "demo" / "model" / "model_index.json").read_text())
    assert index["_class_name"] == "WanPipeline"
