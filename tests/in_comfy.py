"""Test files of ``tests/host/in_comfy``: ordinary pytest files that ComfyUI's own interpreter runs.

Outside they are read, not imported: each test function becomes one item for each ComfyUI that it is to run in. To run
it, a process that lives as long as the whole run (``tests/host/in_comfy_process.py``) is sent its name, runs it with
pytest, and answers with pytest's own reports, one for each set of parameters. The process of each ComfyUI begins when
the run does and goes on by itself, beside the other one and the tests outside; a test's reports are given when its turn
comes.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from comfyui_hosts import ROOT, Host, hosts

FOLDER = ROOT / "tests" / "host" / "in_comfy"
SCRIPT = ROOT / "tests" / "host" / "in_comfy_process.py"
#: What pytest and hypothesis are made of; all of it is Python without compiled parts.
_PACKAGES = (
    "pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments", "exceptiongroup", "tomli", "hypothesis",
    "_hypothesis_globals", "_hypothesis_pytestplugin", "sortedcontainers", "attr", "attrs",
)  # fmt: skip


class InComfyFile(pytest.File):
    """A file whose tests run in ComfyUI."""

    def collect(self) -> Iterator[InComfyItem]:
        module = ast.parse(self.path.read_text())
        marks = [node for node in module.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node)]
        for node in module.body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            said = " ".join(ast.unparse(each) for each in (*marks, *node.decorator_list))
            every = "every_host" in said or self.config.getoption("every_host")
            chosen = hosts() if every else hosts()[:1]
            for host in chosen:
                yield InComfyItem.from_parent(self, name=f"{node.name}[{host.version}]", test=node, host=host)
            if not chosen:
                item = InComfyItem.from_parent(self, name=f"{node.name}[no ComfyUI]", test=node, host=None)
                item.add_marker(pytest.mark.skip(reason="no ComfyUI found"))
                yield item


class InComfyItem(pytest.Item):
    """A test function in one ComfyUI, with all its parameters."""

    def __init__(self, *, test: ast.FunctionDef, host: Host | None, **more: Any) -> None:
        super().__init__(**more)
        self.test, self.host = test, host

    def runtest(self) -> None:  # never called: skipped, or run by the protocol below
        raise NotImplementedError

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.test.lineno - 1, self.name


class ComfyProcess:
    """pytest in ComfyUI's interpreter.

    Args:
        host: the ComfyUI.
        base: a folder for models, output and the log.
    """

    def __init__(self, host: Host, base: Path) -> None:
        packages = base / "packages"
        packages.mkdir(parents=True)
        for name in _PACKAGES:
            spec = importlib.util.find_spec(name)
            if spec is not None and spec.origin is not None:
                origin = Path(spec.origin)
                source = origin.parent if origin.name == "__init__.py" else origin
                (packages / source.name).symlink_to(source, target_is_directory=source.is_dir())
        self._log = base / "comfyui.log"
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_DEBUG_TEMPROOT": str(base)}
        command = [host.python, str(SCRIPT), str(host.path), str(ROOT), str(base), str(packages)]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=host.path,
                env=environment,
            )  # fmt: skip

    def run(self, name: str) -> list[dict]:
        """pytest's reports of a test, by its name in the folder of the tests, in a form for JSON.

        Raises:
            RuntimeError: the process has ended.
        """
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(name) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("REPORTS "):
                if reports := json.loads(line.removeprefix("REPORTS ")):
                    return reports
                raise RuntimeError(f"pytest ran nothing inside ComfyUI:\n{self._log.read_text()[-4000:]}")
        raise RuntimeError(f"ComfyUI's process ended:\n{self._log.read_text()[-4000:]}")

    def close(self, patience: float = 0) -> None:
        """End the process, at once if it has not ended by itself within ``patience`` seconds."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Runner:
    """The tests of one ComfyUI, one after the other in a thread of their own."""

    def __init__(self, host: Host, items: Sequence[InComfyItem]) -> None:
        self._host, self._items = host, items
        self._answers: dict[str, Future[list[dict]]] = {item.nodeid: Future() for item in items}
        self._process: ComfyProcess | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def reports(self, item: InComfyItem) -> list[dict]:
        """Of a test, when it has been run.

        Raises:
            RuntimeError: the process has ended; the next test gets a new one.
        """
        return self._answers[item.nodeid].result()

    def give_up(self, item: InComfyItem) -> None:
        """End the process if it still runs a test."""
        if not self._answers[item.nodeid].done():
            self._end_process()

    def stop(self) -> None:
        """End the process, and run nothing more."""
        self._stopped = True
        # After the last test the process ends by itself, and is given time to take its files away.
        self._end_process(30 if all(answer.done() for answer in self._answers.values()) else 0)
        self._thread.join(30)

    def _end_process(self, patience: float = 0) -> None:
        """End what runs now; the next test gets a new process."""
        process, self._process = self._process, None
        if process is not None:
            process.close(patience)

    def _run(self) -> None:
        for item in self._items:
            if self._stopped:
                return
            answer = self._answers[item.nodeid]
            try:
                if self._process is None:
                    self._process = ComfyProcess(self._host, item.config._tmp_path_factory.mktemp("in_comfy"))
                answer.set_result(self._process.run(f"{item.path.relative_to(ROOT)}::{item.test.name}"))
            except Exception as error:
                self._end_process()
                answer.set_exception(error)


_runners: dict[Host, Runner] = {}


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    return InComfyFile.from_parent(parent, path=module_path) if module_path.parent == FOLDER else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not isinstance(item, InComfyItem) or item.host is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    item.session._setupstate.teardown_exact(nextitem)  # what a test before it left set up for this folder
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    items: dict[Host, list[InComfyItem]] = {}
    for item in session.items:
        if isinstance(item, InComfyItem) and item.host is not None:
            items.setdefault(item.host, []).append(item)
    session.config._tmp_path_factory.getbasetemp()  # made once, before there are threads
    for host, own in items.items():
        _runners[host] = Runner(host, own)


def _reports(item: InComfyItem) -> list[pytest.TestReport]:
    config, runner = item.config, _runners[item.host]
    try:
        found = runner.reports(item)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # it has crashed, or the time is up
        runner.give_up(item)
        return [pytest.TestReport(item.nodeid, item.location, {}, "failed", str(error), "call")]
    reports = []
    for data in found:
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        if isinstance(report.longrepr, list):  # where a test was skipped; JSON knows no tuple
            report.longrepr = tuple(report.longrepr)
        parameters = report.nodeid.partition("[")[2].rstrip("]")
        name = f"{item.test.name}[{'-'.join(filter(None, (item.host.version, parameters)))}]"
        report.nodeid = f"{item.parent.nodeid}::{name}"
        reports.append(report)
    return reports


def pytest_sessionfinish() -> None:
    for host in list(_runners):
        _runners.pop(host).stop()
