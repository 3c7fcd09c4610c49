"""Runs in ComfyUI's interpreter: loads the pack as ComfyUI does and runs tests of ``tests/host/in_comfy`` on request.

Arguments: ComfyUI's folder, the pack's folder, a base folder for models and output, and a folder with pytest. Reads
lines of JSON, each the name of a test, and answers each with a line ``REPORTS [...]``, pytest's reports.
"""

import json
import os
import sys

from boot import boot

comfyui, pack, base, packages = sys.argv[1:]
answers = boot(comfyui, pack, base, "--cpu")
tests = os.path.join(pack, "tests")
sys.path += [packages, os.path.join(tests, "host", "inside"), os.path.join(tests, "host", "in_comfy"), tests]

import pytest
import torch


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
