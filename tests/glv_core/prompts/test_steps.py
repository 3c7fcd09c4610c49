"""Reading a text and weighing its prompts take steps in proportion to its size, whatever it holds; they are counted."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from counted_steps import CountedPattern, TooManySteps, counted_package, steps_of
from hypothesis import example, given, settings
from hypothesis import strategies as st

import glv_core.prompts

#: Steps for a character of a text; the most that was seen is about half of it.
A_CHARACTER = 600
ANY_TEXT = 30_000
PIECES = [
    "0", "1", "24", "9" * 41, "0-", "-", "--", ".", "..", "s", "%", ":", "\uff1a", ": ", " ", "  \t", "\n", "|", " | ",
    '"', "'", "=", ",", "{", "}", "[", "]", "(", ")", "<", "*", "**", "#", "//", "\\", "`", "a", "to ", "->", "@", "0:",
    "0: a\n", "0:00-", "1s", "[1s: ", "[0-5]", "a [0-5] |", "Scene 1: ", "scene ", '"0": ', '"0": "a", ', "hard",
    "[ease ", "\u2013", "Scene 2: (0-3s) ", "(a|", ")", "\uff10", "\uff0d", "\u201c24\u201d: ", "Part 1: ",
    "\n## Scene 1\n", "\nt=0 ", "\n- 0: ", "| 0: ", "At 0s, ", "from the 5-second mark ", "in the first ", "\n[9-12] b",
]  # fmt: skip


@pytest.fixture(scope="module")
def counted():
    return counted_package(Path(glv_core.prompts.__file__).parent)


@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(
    st.lists(st.sampled_from(PIECES), max_size=3).map("".join),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=3).map("".join),
    st.sampled_from([1_000, 3_000]),
)
@example("", "0-", "", 100_000)
@example('"', "0", '"', 100_000)
@example("{", " ", "", 100_000)
@example("", "0: a\n", "", 100_000)
@example("0: a\n", "b\n", "", 10_000)
@example("0: a [", "1-", "", 10_000)
@example("a ", "[1s: b] ", "", 100_000)
@example("", "a | ", "b [0-1]", 10_000)
@example("", "Scene 1: a. ", "", 10_000)
@example('"0": "', "\\u0041", '"', 10_000)
@example("", '"0" ', "", 10_000)
@example("", "(a|", "", 10_000)
@example("", "([{", "|)]}", 10_000)
@example("", "{(a|b)}[c}|", "", 10_000)
@example("Scene 1: a", " Scene 2: (0-3s)", "", 10_000)
@example("Scene 1: a", " scene", "", 10_000)
@example("a", " word 1: word 2:", "", 10_000)
@example("0-1 ", "a1: b1: a2: b2: ", "", 10_000)
@example("", "\n## Scene 1", "\na", 10_000)
@example("", "\n\uff10\uff0d", "\uff1a", 10_000)
@example("a", " | 0: b", "", 10_000)
@example("", "- 0: b\n", "", 10_000)
@example("a\n", "[5s] b\n", "", 10_000)
@example("At 0s ", "at 3s at the first ", "", 10_000)
@example("", "[9-12] b\n", "[1-2] c", 10_000)
@example("", "at 0s a | ", "b", 10_000)
def test_the_steps_of_reading_grow_with_the_text(counted, before: str, again: str, behind: str, length: int):
    text = before + again * (length // len(again)) + behind
    options = {"num_frames": 100_000, "fps": 24, "common_text": text[:300]}
    try:
        made = sum(len(each.prompt) for each in glv_core.prompts.parse_schedule(text, **options).segments)
    except ValueError:
        made = 0
    steps_of(lambda: counted.read_schedule(text, **options), A_CHARACTER * len(text) + 20 * made + ANY_TEXT)


def test_as_many_prompts_as_there_are_lines(counted):
    text = "\n".join(f"{frame}: prompt {frame}" for frame in range(1_000))
    budget = A_CHARACTER * len(text) + ANY_TEXT
    steps_of(lambda: counted.read_schedule(text, num_frames=500, fps=24, beyond_end="drop"), budget)
    assert len(counted.read_schedule(text, num_frames=1_000, fps=24).schedule.segments) == 1_000


def test_as_many_counted_words_as_there_are(counted):
    words = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=3)]
    text = "0-1s " + " ".join(f"{word} 1: {word} 2:" for word in words)
    budget = A_CHARACTER * len(text) + ANY_TEXT
    steps_of(lambda: counted.read_schedule(text, num_frames=500, fps=24), budget)
    assert "'0-1s' looks like" in str(counted.read_schedule(text, num_frames=500, fps=24).warnings[0])


@pytest.mark.parametrize(
    ("text", "common", "says"),
    [
        ("b" * 5_001 + "\n0: a\n24: b", "", "line 1, column 1: this text of 5001 characters"),
        ("b" * 5_001 + ' \n"0": "a"', "", "line 1, column 1: this text of 5001 characters"),
        ("a | b", "b" * 5_001, "common text, line 1, column 1: this text of 5001 characters"),
    ],
)
def test_text_in_front_of_every_prompt_is_not_endless(text: str, common: str, says: str):
    with pytest.raises(ValueError, match=says):
        glv_core.prompts.parse_schedule(text, num_frames=96, fps=24, common_text=common)


@pytest.mark.parametrize("kind", ["hard", "linear"])
def test_the_steps_of_weights_grow_with_segments_and_frames(counted, kind: str):
    def steps(segments: int, frames: int) -> int:
        text = " | ".join(f"prompt {index}" for index in range(segments))
        schedule = counted.parse_schedule(text, num_frames=frames, fps=24, transition=kind)
        compression = counted.track.Compression()
        return steps_of(lambda: counted.PromptTrack.of(schedule, frames, compression), 10**9)

    few, many_frames, many_segments = steps(100, 2_000), steps(100, 4_000), steps(200, 2_000)
    assert many_frames < 2.2 * few
    assert many_segments < 1.5 * few
    assert steps(1_000, 10_000) < 60 * (1_000 + 10_000)


def test_the_counter_sees_going_back():
    """What the tests above rest on: a pattern that tries every way to split a text is found out."""
    steps_of(lambda: CountedPattern("a*b").match("a" * 1_000), 10_000)
    for pattern, text in (("a*a*b", "a" * 1_000), ("(?:a+)+b", "a" * 20), (" *x? *y", " " * 1_000)):
        with pytest.raises(TooManySteps):
            steps_of(lambda pattern=pattern, text=text: CountedPattern(pattern).match(text), 100_000)
