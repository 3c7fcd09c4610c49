"""Runs the host and browser tests in every ComfyUI that there is, and says in the last lines of the run which.

All of them run in the newest; those marked ``every_host`` (or all, with ``--every-host``) in each.
"""

from __future__ import annotations

import os

# Tests run in several processes at once, see `in_comfy`, each on its share of the cores. Torch reads it when imported.
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from comfyui_hosts import Host, Server, Worker, hosts, start_server
from in_comfy import (  # noqa: F401  (hooks)
    pytest_pycollect_makemodule,
    pytest_runtest_protocol,
    pytest_runtestloop,
    pytest_sessionfinish,
)

HERE = Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-host", action="store_true", help="run all host and browser tests in every ComfyUI")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "comfyui" not in metafunc.fixturenames:
        return
    every = metafunc.definition.get_closest_marker("every_host") or metafunc.config.getoption("every_host")
    chosen = hosts() if every else hosts()[:1]
    if chosen:
        metafunc.parametrize("comfyui", chosen, indirect=True, scope="session", ids=lambda host: host.version)
    else:
        skipped = pytest.param(None, marks=pytest.mark.skip(reason="no ComfyUI found"), id="no ComfyUI")
        metafunc.parametrize("comfyui", [skipped], indirect=True, scope="session")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    yield  # behind the lists of what was skipped and what failed
    if not hosts():
        terminalreporter.write_line(
            "No ComfyUI found: the host and browser tests were SKIPPED. Set COMFYUI_PATH to a ComfyUI folder, or to "
            "several."
        )
    counts: dict[str, Counter] = {host.version: Counter() for host in hosts()}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            for version in set(_versions(report.nodeid)) & set(counts):
                counts[version][outcome] += 1
    for host in hosts():
        found = counts[host.version]
        said = ", ".join(f"{found[name]} {name}" for name in ("passed", "failed", "error", "skipped") if found[name])
        terminalreporter.write_line(f"Tested in {host}: {said or 'nothing'}.")


def _versions(nodeid: str) -> list[str]:
    """The words between the brackets of a test's name, one of which may be a host's version."""
    return nodeid.partition("[")[2].rstrip("]").split("-")


class Processes:
    """Workers and servers that live as long as the run, one of each kind for a ComfyUI, made when first asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._workers: dict[Host, Worker] = {}
        self._servers: dict[Host, Server] = {}

    def worker(self, host: Host) -> Worker:
        if host not in self._workers:
            self._workers[host] = Worker(host, self._factory.mktemp("comfyui_inside"))
        return self._workers[host]

    def server(self, host: Host) -> Server:
        if host not in self._servers:
            self._servers[host] = start_server(host, self._factory.mktemp("comfyui_server"))
        return self._servers[host]

    def close(self) -> None:
        for each in (*self._workers.values(), *self._servers.values()):
            each.close()


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    running = Processes(tmp_path_factory)
    yield running
    running.close()


@pytest.fixture(scope="session")
def comfyui(request: pytest.FixtureRequest) -> Host:
    """The ComfyUI that a test runs in."""
    return request.param


@pytest.fixture(scope="session")
def inside(comfyui: Host, processes: Processes) -> Callable[..., Any]:
    """``inside("module", "function", **arguments)``, see ``Worker``."""

    def call(*names: str, **arguments: Any) -> Any:
        try:
            return processes.worker(comfyui).call(*names, **arguments)
        except RuntimeError as error:
            pytest.fail(str(error), pytrace=False)

    return call


@pytest.fixture
def inside_alone(comfyui: Host, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``inside`` in a process of its own, for what a process can be measured by."""
    worker = Worker(comfyui, tmp_path / "comfyui_alone")
    yield worker.call
    worker.close()


@pytest.fixture
def inside_with(comfyui: Host, tmp_path: Path) -> Iterator[Callable[..., Callable[..., Any]]]:
    """``inside_with("--flag", ...)``: ``inside`` in processes of their own with flags of ComfyUI's."""
    workers = []

    def start(*flags: str) -> Callable[..., Any]:
        workers.append(Worker(comfyui, tmp_path / f"comfyui_with_{len(workers)}", *flags))
        return workers[-1].call

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture(scope="session")
def server(comfyui: Host, processes: Processes) -> Server:
    """A running ComfyUI, see ``start_server``."""
    try:
        return processes.server(comfyui)
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
