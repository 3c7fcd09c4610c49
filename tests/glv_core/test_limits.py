import sys
from types import SimpleNamespace

import pytest

from glv_core.limits import check_memory


def memory(monkeypatch, total, swap):
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(total=total), swap_memory=lambda: SimpleNamespace(total=swap)
    ))  # fmt: skip


def test_what_memory_cannot_hold_is_refused_with_the_remedy(monkeypatch):
    memory(monkeypatch, 6 * 2**30, 2 * 2**30)
    check_memory("a video", 8 * 2**30, "Make it shorter.")
    with pytest.raises(ValueError, match=r"^a video needs 8\.5 GB of memory, and there are 8\.0\. Make it shorter\.$"):
        check_memory("a video", 8.5 * 2**30, "Make it shorter.")


def test_without_psutil_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    check_memory("a video", 2**80, "Make it shorter.")
