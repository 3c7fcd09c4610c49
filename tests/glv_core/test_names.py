import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glv_core.names import LONGEST, check_names


@pytest.mark.parametrize(("name", "safe"), [
    ("CON", "_CON"), ("con.txt", "_con.txt"), ("a/NUL/b", "a/_NUL/b"), ("lpt1", "_lpt1"), ("C:\\x", "C__x"),
    ("trail. ", "trail"), (" lead", "lead"), ("what?", "what_"), ("a|b", "a_b"), ("tab\tx", "tab_x"), ("...", "_"),
    ("x" * 300, "x" * LONGEST), ("ü" * 150, "ü" * (LONGEST // 2)),
])  # fmt: skip
def test_names_that_some_system_cannot_hold_are_refused_with_one_that_all_can(name, safe):
    with pytest.raises(ValueError, match=r"^run_name is .* not every system can hold the name") as error:
        check_names("run_name", name)
    assert str(error.value).endswith(f"Use {safe!r}.")
    check_names("run_name", safe)


@pytest.mark.parametrize(
    "name", ["streaming", "a/b", "console", "v1.2", "日本語", "Über uns", "a", "com0", "../x", ".hidden"]
)
def test_other_names_are_fine(name):
    check_names("run_name", name)


@given(st.text(min_size=1, max_size=400))
def test_what_is_proposed_is_fine(name):
    try:
        check_names("run_name", name)
    except ValueError as error:
        proposed = str(error).rpartition("Use ")[2][:-1]
        check_names("run_name", ast.literal_eval(proposed))
        assert not set(proposed[1:-1]) & set('<>:"|?*')
