"""Runs in ComfyUI's interpreter: loads the pack as ComfyUI does and runs tests of ``tests/host/in_comfy`` on request.

Arguments: ComfyUI's folder, the pack's folder, a base folder for models and output, and a folder with pytest. Reads
lines of JSON, each the name of a test, and answers each with a line ``REPORTS [...]``, pytest's reports.
"""

import importlib.util
import json
import os
import sys

comfyui, pack, base, packages = sys.argv[1:5]
sys.argv = ["main.py", "--cpu", "--base-directory", base, "--database-url", "sqlite:///:memory:"]
sys.path[0] = comfyui
for folder in ("models", "custom_nodes", "input", "output", "temp", "user"):
    os.makedirs(os.path.join(base, folder), exist_ok=True)

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever ComfyUI prints goes to the log

import comfy.options

comfy.options.enable_args_parsing()

import torch
import utils.extra_config  # noqa: F401  (ComfyUI's, as in its main.py: later another package's "utils" is found)

import nodes  # noqa: F401  (ComfyUI's)

cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
torch.set_num_threads(min(2, cores))  # more are slower on the tiny models, and so are more than there are cores

spec = importlib.util.spec_from_file_location(
    "long_video_pack", os.path.join(pack, "__init__.py"), submodule_search_locations=[pack]
)
module = importlib.util.module_from_spec(spec)
sys.modules["long_video_pack"] = module
spec.loader.exec_module(module)

sys.path += [packages, os.path.join(pack, "tests", "host", "inside"), os.path.join(pack, "tests", "host", "in_comfy")]

import pytest


class Reporter:
    """Keeps pytest's reports, and runs tests without gradients, as ComfyUI runs nodes."""

    def __init__(self):
        self.reports = []

    def pytest_configure(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_collectreport(self, report):
        if report.failed:
            self.reports.append({
                "nodeid": "", "location": ["", 0, ""], "keywords": {}, "outcome": "failed", "when": "call",
                "longrepr": str(report.longrepr), "duration": 0.0, "sections": [], "user_properties": [],
                "$report_type": "TestReport",
            })  # fmt: skip

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item):
        with torch.inference_mode():
            yield


settings = os.path.join(base, "pytest.ini")
with open(settings, "w") as file:
    file.write("[pytest]\nmarkers = every_host: for the pytest outside\n")
for line in sys.stdin:
    reporter = Reporter()
    os.chdir(pack)
    pytest.main(
        ["-c", settings, "--rootdir", pack, "--confcutdir", os.path.join(pack, "tests/host/in_comfy"),
         "--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:terminal", json.loads(line)],
        plugins=[reporter],
    )  # fmt: skip
    answers.write("REPORTS " + json.dumps(reporter.reports, default=str) + "\n")
    answers.flush()
