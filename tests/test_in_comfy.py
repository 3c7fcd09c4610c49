"""Tests that run inside ComfyUI come back as ordinary results, with a ComfyUI of the test's own making."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def outer(tmp_path):
    """Runs files as if they lay in ``tests/host/in_comfy``, with a host whose process has pytest alone."""

    def run(text: str, *flags: str) -> str:
        inner = tmp_path / "inner"
        inner.mkdir(exist_ok=True)
        (inner / "test_it.py").write_text(textwrap.dedent(text))
        (tmp_path / "process.py").write_text(
            textwrap.dedent(f"""
            import json, os, sys
            sys.path.append(sys.argv[4])
            script = open({str(ROOT / "tests/host/in_comfy_process.py")!r}).read()
            start = script.index("import pytest")
            answers = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
            class torch:
                class inference_mode:
                    __enter__ = lambda self: None
                    __exit__ = lambda self, *error: None
            pack, base = {str(tmp_path)!r}, sys.argv[3]
            exec(script[start:].replace("tests/host/in_comfy", "inner"))
            """)
        )
        (tmp_path / "conftest.py").write_text(
            textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT / "tests")!r})
            import pathlib, in_comfy
            from comfyui_hosts import Host
            in_comfy.FOLDER = pathlib.Path({str(inner)!r})
            in_comfy.ROOT = pathlib.Path({str(tmp_path)!r})
            in_comfy.SCRIPT = pathlib.Path({str(tmp_path / "process.py")!r})
            old, new = (Host(pathlib.Path({str(tmp_path)!r}), sys.executable, v) for v in ("1.0", "2.0"))
            in_comfy.hosts = lambda: (new, old)
            from in_comfy import (
                pytest_pycollect_makemodule, pytest_runtest_protocol, pytest_runtestloop, pytest_sessionfinish,
            )
            def pytest_addoption(parser):
                parser.addoption("--every-host", action="store_true")
            """)
        )
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--import-mode=importlib",
             "-c", "/dev/null", "--rootdir", str(tmp_path), str(inner), *flags],
            capture_output=True, text=True, cwd=tmp_path, timeout=120,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


def test_results_have_parameters_hosts_and_tracebacks(outer):
    out = outer("""
        import pytest

        @pytest.mark.every_host
        @pytest.mark.parametrize("x", [1, 2])
        def test_one(x):
            assert x == 1

        def test_two():
            pytest.skip("not today")

        def test_three(tmp_path):
            (tmp_path / "a").write_text("b")
        """)
    for name in ("PASSED inner/test_it.py::test_one[2.0-1]", "PASSED inner/test_it.py::test_one[1.0-1]",
                 "FAILED inner/test_it.py::test_one[2.0-2]", "FAILED inner/test_it.py::test_one[1.0-2]",
                 "PASSED inner/test_it.py::test_three[2.0]", "not today"):  # fmt: skip
        assert name in out, out
    assert "assert 2 == 1" in out and "test_two[1.0]" not in out
    assert "3 passed, 1 skipped" in out or "2 failed, 3 passed, 1 skipped" in out, out


def test_a_crash_is_one_error_and_the_next_test_has_a_new_process(outer):
    out = outer("""
        import os

        def test_crash():
            os._exit(3)

        def test_after():
            pass
        """)
    assert "FAILED inner/test_it.py::test_crash[2.0]" in out and "process ended" in out
    assert "PASSED inner/test_it.py::test_after[2.0]" in out and "1 failed, 1 passed" in out


def test_a_file_that_cannot_be_imported_fails(outer):
    out = outer("""
        import nothing_of_this_name

        def test_it():
            pass
        """)
    assert "FAILED inner/test_it.py::test_it[2.0]" in out and "nothing_of_this_name" in out


def test_tests_are_chosen_by_name_and_in_every_host_if_asked(outer):
    out = outer("def test_one():\n    pass\n\n\ndef test_two():\n    pass\n", "-k", "test_two", "--every-host")
    assert "2 passed" in out and "test_two[1.0]" in out and "test_one" not in out


def test_every_host_runs_its_tests_at_the_same_time(outer, tmp_path):
    out = outer(f"""
        import os, pathlib, time

        def test_they_meet():
            place = pathlib.Path({str(tmp_path)!r})
            (place / f"{{os.getpid()}}.here").touch()
            for _ in range(300):
                if len(list(place.glob("*.here"))) == 2:
                    return
                time.sleep(0.1)
            assert False, "the other one did not come"
        """, "--every-host")  # fmt: skip
    assert "2 passed" in out, out


def test_a_hung_test_ends_with_its_time_and_the_next_has_a_new_process(outer):
    out = outer("""
        import time

        def test_hung():
            time.sleep(100)

        def test_after():
            pass
        """, "--timeout", "10")  # fmt: skip
    assert "FAILED inner/test_it.py::test_hung[2.0]" in out and "1 failed, 1 passed" in out, out
