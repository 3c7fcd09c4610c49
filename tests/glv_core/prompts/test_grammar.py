"""Text -> schedule: golden examples of every way of writing, and errors that point at the right place."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from glv_core.prompts import PromptSchedule, PromptScheduleError, PromptSyntaxError, parse_schedule
from glv_core.prompts.grammar import parse_bars
from glv_core.prompts.source import Source, Video, excerpt

SETTINGS = settings(derandomize=True, deadline=None, max_examples=300)


def parse(text: str, num_frames: int = 96, fps: float = 24, **options) -> PromptSchedule:
    return parse_schedule(text, num_frames=num_frames, fps=fps, **options)


def starts(text: str, num_frames: int = 96, fps: float = 24) -> list[tuple[float, str]]:
    return [(segment.start, segment.prompt) for segment in parse(text, num_frames, fps).segments]


def fades(text: str, **options) -> list[tuple[str, float]]:
    return [(s.transition.kind, s.transition.frames) for s in parse(text, **options).segments]


def failure(text: str, num_frames: int = 96, fps: float = 24, **options) -> PromptScheduleError:
    with pytest.raises(PromptScheduleError) as caught:
        parse(text, num_frames, fps, **options)
    return caught.value


# --- Lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "frame"),
    [
        ("0", 0),
        ("48", 48),
        ("95", 95),
        ("048", 48),
        ("0" * 38 + "48", 48),  # as many digits as a number may have
        ("2.5s", 60),
        (".5s", 12),
        ("2.5 s", 60),
        ("50%", 48),
        ("0%", 0),
        ("12.5%", 12),
        ("50 %", 48),
        ("0:02", 48),
        ("0:02.5", 60),
        ("-24", 72),
        ("-1", 95),
        ("-96", 0),
        ("-1.5s", 60),
        ("-10%", 86),  # 86.4
        ("-0:01", 72),
        ("1%", 1),  # 0.96
        ("99.9%", 95),  # 95.9 is inside the video and must not be rounded out of it
    ],
)
def test_times(time: str, frame: int) -> None:
    # A first prompt covers what is before it, so put another one in front to see where this one starts.
    expected = [(0, "b")] if frame == 0 else [(0, "a"), (frame, "b")]
    assert starts(("" if frame == 0 else "0: a\n") + f"{time}: b") == expected


@pytest.mark.parametrize(
    ("time", "num_frames", "fps", "frame"),
    [
        ("0.1s", 100, 25, 3),  # 2.5: halves go up
        ("0.29s", 100, 50, 15),  # 14.5, though 0.29 * 50 is 14.499999999999998 in floating point
        ("50%", 25, 24, 13),  # 12.5
        ("-50%", 25, 24, 13),
        ("1s", 100, 23.976, 24),
        ("1s", 100, 30000 / 1001, 30),
        ("1:05", 2000, 24, 1560),
        ("12:00", 20000, 24, 17280),
    ],
)
def test_rounding_and_rates(time: str, num_frames: int, fps: float, frame: int) -> None:
    assert starts(f"0: a\n{time}: b", num_frames, fps)[1] == (frame, "b")


@pytest.mark.parametrize("span", ["24-48", "24..48", "1s-2s", "25%-50%", "24 - 48", "24\u201348", "24--48", "-72..-48",
                                  "25%..2s", "0:01-0:02", "24..-50%", "1.0s..2.0s"])  # fmt: skip
def test_ranges_hold_until_the_next_prompt(span: str) -> None:
    assert starts(f"0: a\n{span}: b\n60: c") == [(0, "a"), (24, "b"), (60, "c")]
    assert starts(f"0: a\n{span}: b\n48: c") == [(0, "a"), (24, "b"), (48, "c")]
    error = failure(f"0: a\n{span}: b\n47: c")
    assert (error.line, error.column) == (3, 1)
    assert "overlaps with line 2: frames 47 to 47" in str(error)


def test_a_range_may_end_with_the_video_and_the_first_prompt_covers_the_beginning() -> None:
    assert starts("24-96: a") == [(0, "a")]
    assert starts("50%-100%: b\n10-48: a") == [(0, "a"), (48, "b")]


def test_what_a_prompt_may_contain() -> None:
    text = (
        "# a comment\n\n"
        "0: 16:9 still: a cat, (red:1.2), 3 dogs | bars\n"
        "  // another comment\n"
        "   at 24 fps,\n"
        "\n"
        "1girl, solo\n"
        "close-up: [sharp:0.5]\r\n"
        "48 [hard]:a \\(b\\)\ttab\n"
        "2 [red:1.2] cars # no comment here"
    )
    # "0: 16:9" is fine: the first colon is followed by a space.
    assert starts(text) == [
        (0, "16:9 still: a cat, (red:1.2), 3 dogs | bars at 24 fps, 1girl, solo close-up: [sharp:0.5]"),
        (48, "a \\(b\\)\ttab 2 [red:1.2] cars # no comment here"),
    ]


@pytest.mark.parametrize(
    "line",
    ["12 -24 x: a", "5 cats [ease 4", "2 [red:1.2] cars", "2 [red: cars", "24 hours: later", "- 3: a", "x 12: a",
     "٣: a", "5]: b", "50 %x: a", "(3: a)", "3"],
)  # fmt: skip
def test_what_is_not_a_time_belongs_to_the_prompt(line: str) -> None:
    assert starts(f"0: z\n {line}") == [(0, f"z {line}")]


def test_lines_may_come_in_any_order() -> None:
    assert starts("-24: c\n0: a\n50%: b") == [(0, "a"), (48, "b"), (72, "c")]


def test_written_transitions() -> None:
    text = "0 [ease 90]: a\n20 [hard]: b\n40 [ease 12]: c\n60 [linear 0.5s]: d\n75 [ease 7.5]: e\n85 [ linear ]: f"
    assert fades(text) == [
        ("hard", 0),
        ("hard", 0),
        ("ease", 12),
        ("linear", 12),
        ("ease", 7.5),
        ("linear", 8),
    ]
    assert starts("0:a\n48:b") == [(0, "a"), (48, "b")]
    assert fades("0: a\n48 [linear 25%]: b") == [("hard", 0), ("linear", 24)]
    assert fades("0: a\n48 [linear 0]: b\n60 [hard 0]: c") == [("hard", 0)] * 3
    assert fades("0: a\n48 [linear]: b", transition="hard", transition_frames=10)[1] == ("linear", 10)


def test_default_transitions() -> None:
    assert fades("0: a\n48: b") == [("hard", 0), ("linear", 8)]
    assert fades("0: a\n48: b", transition="ease", transition_frames=5.5)[1] == ("ease", 5.5)
    assert fades("0: a\n48: b", transition="hard")[1] == ("hard", 0)
    assert fades("0: a\n48: b", transition_frames=0)[1] == ("hard", 0)


def test_default_transitions_shrink_to_the_middle_of_a_short_neighbour() -> None:
    assert fades("0: a\n10: b\n14: c", transition_frames=40) == [("hard", 0), ("linear", 4), ("linear", 4)]
    assert fades("0: a\n2: b", transition_frames=40)[1] == ("linear", 2)
    assert fades("0: a\n94 [ease]: b", transition_frames=40)[1] == ("ease", 2)
    # c's written transition takes 3 of b's 4 frames: 1 is left for the default one into b.
    assert fades("0: a\n10: b\n14 [ease 6]: c") == [("hard", 0), ("linear", 2), ("ease", 6)]
    assert fades("0: a\n10: b\n14 [ease 8]: c") == [("hard", 0), ("hard", 0), ("ease", 8)]
    # b's written transition takes 4 of its 6 frames, or all of its 4: 2 are left for the default one into c, or none.
    assert fades("0: a\n40 [ease 8]: b\n46: c", transition_frames=40)[1:] == [("ease", 8), ("linear", 4)]
    assert fades("0: a\n40 [ease 8]: b\n44: c", transition_frames=40)[1:] == [("ease", 8), ("hard", 0)]
    # A segment of a single frame still gives half of it.
    assert fades("0: a\n1: b", transition_frames=40)[1] == ("linear", 1)
    assert fades("0: a\n40 [hard]: b\n41: c", transition_frames=40)[1:] == [("hard", 0), ("linear", 1)]


def test_written_transitions_that_do_not_fit_are_errors() -> None:
    error = failure("0: a cat\n10 [linear 30]: b")
    assert (error.line, error.column) == (2, 4)
    assert "'a cat' lasts 10 frames, but transitions would take 15 of them.\n" in str(error)
    error = failure("0: a\n90 [ease 14]: the end")
    assert "'the end' lasts 6 frames, but transitions would take 7 of them.\n" in str(error) and error.line == 2
    error = failure("0: a\n40 [ease 8]: middle\n46 [ease 10]: c")
    assert "'middle' lasts 6 frames" in str(error) and "(4 at its start, 5 at its end)" in str(error)
    assert (error.line, error.column) == (3, 4)
    assert fades("0: a\n40 [ease 8]: middle\n49 [ease 10]: c")[1:] == [("ease", 8), ("ease", 10)]
    assert fades("0: a\n48 [linear 96]: b")[1] == ("linear", 96)
    assert fades("0: a\n40 [hard]: b\n46 [ease 12]: c")[1:] == [("hard", 0), ("ease", 12)]
    # Of two that take as much, the one at the start is blamed.
    error = failure("0: a\n40 [ease 8]: middle\n46 [ease 8]: c")
    assert (error.line, error.column) == (2, 4)


# --- Bars and single prompts -----------------------------------------------------------------------------------------


def test_bars_split_evenly() -> None:
    assert starts("a | b|c ") == [(0, "a"), (32, "b"), (64, "c")]
    assert starts("a |\n b, close-up:\n more\n| c", 10) == [(0, "a"), (3, "b, close-up: more"), (7, "c")]
    assert starts("a|b", 2) == [(0, "a"), (1, "b")]
    assert starts("a|b", 5) == [(0, "a"), (3, "b")]  # 2.5, halves up
    assert fades("a|b|c", transition="ease", transition_frames=6) == [("hard", 0), ("ease", 6), ("ease", 6)]
    assert starts("a {red|blue} car | b") == [(0, "a {red|blue} car"), (48, "b")]


def test_a_part_stands_at_its_bar() -> None:
    source = Source.of("\n  a | b|c")
    entries = parse_bars(Video(source, 96, 24), source.lines())
    assert [(entry.start, entry.prompt, entry.offset) for entry in entries] == [(0, "a", 3), (32, "b", 5), (64, "c", 8)]


@pytest.mark.parametrize(
    ("text", "column", "which"),
    [("a || c", 4, "2 of 3"), ("| a", 1, "1 of 2"), ("a |", 3, "2 of 2"), ("a | b | ", 7, "3 of 3")],
)
def test_empty_parts(text: str, column: int, which: str) -> None:
    error = failure(text)
    assert (error.line, error.column) == (1, column)
    assert f"prompt {which} is empty" in str(error)


def test_more_prompts_than_frames() -> None:
    error = failure("a|b|c", 2)
    assert (error.column, "3 prompts do not fit into 2 frames" in str(error)) == (4, True)


@pytest.mark.parametrize(
    "text",
    ["a cat", "a cat: sitting, 16:9, (red:1.2)", '"Hello" she said', '"2001: a film" poster', "close-up: a cat",
     "{red|blue} car", "1girl, solo: portrait", "a 12: b", "`code`", "2 dogs: running", "-- a", "x = 3"],
)  # fmt: skip
def test_one_prompt_stays_as_it_is(text: str) -> None:
    assert starts(text) == [(0, text)]


def test_one_prompt_over_several_lines() -> None:
    assert starts("\ufeff# title\n a cat,\r\n\r\n  sitting ") == [(0, "a cat, sitting")]


# --- Keys ------------------------------------------------------------------------------------------------------------


def keyed(text: str, num_frames: int) -> list[dict[str, float]]:
    """Per frame: weight by prompt, zeros left out."""
    schedule = parse(text, num_frames)
    table = []
    for frame in range(num_frames):
        row: dict[str, float] = {}
        for segment, weight in zip(schedule.segments, schedule.weights(frame), strict=True):
            if weight:
                row[segment.prompt] = row.get(segment.prompt, 0) + weight
        table.append(row)
    return table


A, B, C = {"a": 1}, {"b": 1}, {"c": 1}


def ab(b: float) -> dict[str, float]:
    return {"a": 1 - b, "b": b}


def bc(c: float) -> dict[str, float]:
    return {"b": 1 - c, "c": c}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Reached at the key, blended over the whole stretch between keys, then held to the end.
        ('"0": "a", "4": "b"', [A, ab(0.25), ab(0.5), ab(0.75), B, B, B, B]),
        ('"0": "a", "5": "b"', [A, ab(0.2), ab(0.4), ab(0.6), ab(0.8), B, B, B]),
        ('"2": "a", "4": "b"', [A, A, A, ab(0.5), B, B, B, B]),
        ('"0": "a", "1": "b", "5": "c"', [A, B, bc(0.25), bc(0.5), bc(0.75), C, C, C]),
        ('"0": "a", "4": "b", "6": "c"', [A, ab(0.25), ab(0.5), ab(0.75), B, bc(0.5), C, C]),
        # Hold: stay, then cut.
        ('"0:": "a", "4": "b", "6": "c"', [A, A, A, A, B, bc(0.5), C, C]),
        ('"0": "a", "2:": "b", "6": "c"', [A, ab(0.5), B, B, B, B, C, C]),
        # Ranges: all their frames, the end left out; then the blend starts from the last one.
        ('"1:4": "a", "6": "b"', [A, A, A, A, ab(1 / 3), ab(2 / 3), B, B]),
        ('"0": "a", "2:0.5": "b", "7": "c"', [A, ab(0.5), B, B, bc(0.25), bc(0.5), bc(0.75), C]),
        ('"0:3:": "a", "5:8": "b"', [A, A, A, A, A, B, B, B]),
        # Shares, percent, seconds, counts from the end.
        ('"0": "a", "0.5": "b"', [A, ab(0.25), ab(0.5), ab(0.75), B, B, B, B]),
        ('"0.0": "a", "0.3": "b"', [A, ab(0.5), B, B, B, B, B, B]),  # 2.4 is rounded down
        ('"0:": "a", "1.0": "b"', [A, A, A, A, A, A, A, B]),
        ('"0:": "a", "50%": "b"', [A, A, A, A, B, B, B, B]),
        ('"0:": "a", "0.25s": "b"', [A, A, A, A, A, A, B, B]),
        ('"0:": "a", "-3": "b"', [A, A, A, A, A, B, B, B]),
        ('"0:": "a", "-5:-1": "b"', [A, A, A, B, B, B, B, B]),
        ('"-3": "b", "0:": "a"', [A, A, A, A, A, B, B, B]),
        # A key at the very end is approached, not reached.
        ('"0": "a", "8": "b"', [ab(frame / 8) if frame else A for frame in range(8)]),
        ('"0:": "a", "8": "b"', [A] * 8),
        ('"0": "a", "4:": "b", "8": "c"', [A, ab(0.25), ab(0.5), ab(0.75), B, B, B, B]),
        ('"8": "a"', [A] * 8),
    ],
)
def test_keys_by_hand(text: str, expected: list[dict[str, float]]) -> None:
    table = keyed(text, 8)
    assert len(table) == len(expected)
    for frame, (row, wanted) in enumerate(zip(table, expected, strict=True)):
        assert row == pytest.approx(wanted), frame


@pytest.mark.parametrize(
    "text",
    [
        '"0": "a", "24": "b"',
        '"0":"a","24":"b",',
        '{"0": "a", "24": "b"}',
        ' {\n "0" :"a" ,\n\n"24" :"b",\n} \n',
        '0 = "a", 24 = "b"',
        '0="a",\n24="b",',
        "0 = 'a', 24 = 'b'",
        '{0: "a", 24: "b"}',
        '{0 = "a", "24": "b"}',
        '0: "a",\n24: "b"',
        '# title\n"0": "a", // first\n"24": "b" # second',
        '"0.0": "a", "0.25": "b"',
        '"0": "a", "1s": "b"',
        '"0": "a", "25%": "b"',
        '"0": "a", "-72": "b"',
    ],
)
def test_all_ways_of_writing_keys_agree(text: str) -> None:
    assert parse(text) == parse('"0": "a", "24": "b"')
    assert [(s.start, s.end, s.transition.kind, s.transition.frames) for s in parse(text).segments] == [
        (0, 12, "hard", 0),
        (12, 96, "linear", 24),
    ]


def test_keys_ignore_the_default_transition() -> None:
    text = '"0": "a", "24": "b"'
    assert parse(text, transition="hard", transition_frames=0) == parse(text)


def test_holds_without_quotes() -> None:
    for text in ('0: = "a", 24 = "b"', '{0:: "a", 24: "b"}', '{"0:": "a", 24: "b"}'):
        assert fades(text) == [("hard", 0), ("hard", 0)]


def test_a_share_of_one_is_the_last_frame_but_the_end_of_a_range() -> None:
    assert starts('"0:": "a", "1.0": "b"', 8) == [(0, "a"), (7, "b")]
    assert starts('"0.0:1.0": "a"', 1) == [(0, "a")]


def test_escapes_in_prompts() -> None:
    text = r'"0": "say \"hi\", \(x:1.2\) a\\b caf\u00e9 \ud83d\ude00 \/ one\ntwo"'
    assert starts(text) == [(0, 'say "hi", \\(x:1.2\\) a\\b café 😀 / one two')]
    assert starts('"0": "over\n  two lines {a|b} | 12: x"') == [(0, "over two lines {a|b} | 12: x")]


@SETTINGS
@given(
    st.integers(2, 60).flatmap(
        lambda n: st.tuples(
            st.just(n),
            st.lists(st.tuples(st.integers(0, n), st.booleans()), min_size=1, max_size=6, unique_by=lambda key: key[0]),
        )
    )
)
def test_keys_equal_the_rule_frame_by_frame(case: tuple[int, list[tuple[int, bool]]]) -> None:
    num_frames, keys = case
    text = ", ".join(f'"{frame}{":" if hold else ""}": "p{frame}"' for frame, hold in keys)
    table = keyed(text, num_frames)
    keys = sorted(keys)
    for frame in range(num_frames):
        before = [key for key in keys if key[0] <= frame][-1:] or keys[:1]
        after = [key for key in keys if key[0] > frame][:1]
        (low, hold), wanted = before[0], {}
        share = Fraction(0) if not after or hold or frame < low else Fraction(frame - low, after[0][0] - low)
        wanted[f"p{low}"] = float(1 - share)
        if share:
            wanted[f"p{after[0][0]}"] = float(share)
        assert table[frame] == pytest.approx(wanted, abs=1e-12), (text, frame)


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_the_shape_of_a_message() -> None:
    error = failure("12: a dog\n12x: a cat")
    assert type(error) is PromptSyntaxError and isinstance(error, ValueError)
    assert str(error) == (
        "line 2, column 3: 'x' is not a time.\n"
        "  12x: a cat\n"
        "    ^\n"
        "Write a frame (12), seconds (0.5s), percent (50%), or a range (12-24). "
        "If it is part of the prompt, put a word in front of it."
    )


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "no prompt"),
        (" \n\t\n", 1, 1, "no prompt"),
        ("# only a comment", 1, 1, "no prompt"),
        ("35mm: a", 1, 3, "'mm' is not a time"),
        ("1.2.3: a", 1, 4, "'.' is not a time"),
        ("+5: a", 1, 1, "'+' is not a time"),
        ("0: a\n5;: b", 2, 2, "';' is not a time"),
        ("12-: a", 1, 4, "a time is missing"),
        ("12-x5: a", 1, 4, "'x5' is not a time"),
        ("12-24-36: a", 1, 6, "'-36' is not understood here"),
        ("0.5: a", 1, 1, "0.5s, 50%"),
        ("2.5: a", 1, 1, "not a whole frame"),
        ("16:9 wide", 1, 3, "can be a time"),
        ("0:30 a cat", 1, 2, "1:05: a prompt"),
        ("0:1girl", 1, 2, "write a space after it"),
        ("0：３０ a", 1, 2, "can be a time"),
        ("48 ease 12: b", 1, 4, "needs brackets"),
        ("48 [ease 12] b", 1, 13, "colon is missing"),
        ("48 [fade]: b", 1, 5, "hard, linear, ease"),
        ("48 []: b", 1, 5, "name of a transition is missing"),
        ("48 [12]: b", 1, 5, "name of a transition is missing"),
        ("48 [ease 12: b", 1, 12, "not closed"),
        ("48 [ease 12x]: b", 1, 12, "'x' is not understood"),
        ("9" * 41 + ": b", 1, 1, "41 digits"),
        ('"0" "a", "4": "b", "5": "c"', 1, 5, "colon is missing"),
        ('"0": "a" "4": "b"', 1, 10, "comma"),
        ('"0": "a",\n"4": "say "hi""', 2, 12, 'written \\"'),
        ('"0": "a", , "4": "b"', 1, 11, "key is empty"),
        ('{"0": "a"', 1, 1, "never closed"),
        ('"0": "a"}', 1, 9, "never opened"),
        ('{"0": "a"} x', 1, 12, "after the closing brace"),
        ('"0": a', 1, 6, "in quotation marks"),
        ("0 = a", 1, 5, "in quotation marks"),
        ('"0": 5', 1, 6, "in quotation marks"),
        ('"0": "a', 1, 6, "never closed"),
        ("\u201c0\u201d: \u201ca\u201d", 1, 1, "curly"),
        ('"0": "a", "12x": "b"', 1, 14, "'x' is not a time"),
        ('"": "a"', 1, 2, "key is empty"),
        ('"2-5": "a"', 1, 3, "'-5' is not a time"),
        ('"1:2:3": "a"', 1, 5, "one colon"),
        ('"0": "a", "4": "(b:`0.5*t`)"', 1, 20, "backticks"),
        ('"0": "a", "max_f/2": "b"', 1, 12, "max_f/2"),
        ('"maxKeyframes/2": "b"', 1, 2, "expressions in keys"),
        ('"pre_text": "b"', 1, 2, "into each prompt"),
        ('"0": "a --neg b"', 1, 9, "negative prompt"),
        (r'"0": "\ud83d"', 1, 7, "whole character"),
    ],
)
def test_syntax_errors(text: str, line: int, column: int, says: str) -> None:
    error = failure(text)
    assert type(error) is PromptSyntaxError
    assert (error.line, error.column) == (line, column)
    assert says in str(error)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("0:\n48: b", 1, 1, "no prompt after this time"),
        ("0: a\n96: b", 2, 1, "96 frames long (4 s at 24 fps)"),
        ("0: a\n4s: b", 2, 1, "the last one is 95"),
        ("0: a\n-97: b", 2, 1, "outside"),
        ("0: a\n24-97: b", 2, 4, "'97' is outside"),
        ("0: a\n1:00: b", 2, 1, "'1:00' is outside"),
        ("9999999999999999999s: b", 1, 1, "outside"),
        ("24-12: a", 1, 1, "frame 24 to frame 12"),
        ("24-24: a", 1, 1, "empty"),
        ("0-0: a", 1, 1, "frame 0 to frame 0"),
        ("1s..1.01s: a", 1, 1, "frame 24 to frame 24"),
        ("24: a\n24: b", 2, 1, "line 1"),
        ("24: a\n  1s: b", 2, 3, "two prompts start on frame 24"),
        ("48: b\n0-96: a", 2, 1, "overlaps with line 1"),
        ("0-48: a\n24-60: b", 2, 1, "frames 24 to 47"),
        ("48 [ease -3]: b", 1, 10, "shorter than 0"),
        ("48 [hard 3]: b", 1, 10, "no length"),
        ("{}", 1, 1, "between the braces"),
        ('"97": "a"', 1, 2, "outside"),
        ('"-97": "a"', 1, 2, "outside"),
        ('"0": "a", "5:97": "b"', 1, 14, "'97' is outside"),
        ('"1.5": "a"', 1, 2, "from 0.0 to 1.0"),
        ('"-0.5": "a"', 1, 2, "from 0.0 to 1.0"),
        ('"0": " "', 1, 6, "empty"),
        ('"5:5": "a"', 1, 2, "empty"),
        ('"7:5": "a"', 1, 2, "frame 7 to frame 5"),
        ('"5": "a", "5": "b"', 1, 11, "frame 5 has two prompts"),
        ('"2:9": "a", "5": "b"', 1, 13, "overlaps with the one in line 1, column 1, on frame 5"),
        ('"0": "a", "2:9": "b", "5": "c"', 1, 23, "overlaps with the one in line 1, column 11, on frame 5"),
    ],
)
def test_schedule_errors(text: str, line: int, column: int, says: str) -> None:
    error = failure(text)
    assert type(error) is PromptScheduleError
    assert (error.line, error.column) == (line, column)
    assert says in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 0},
        {"num_frames": 2.5},
        {"num_frames": True},
        {"fps": 0},
        {"fps": -1},
        {"fps": math.nan},
        {"fps": math.inf},
        {"transition": "fade"},
        {"transition_frames": -1},
        {"transition_frames": math.nan},
        {"transition": "hard", "transition_frames": -1},
    ],
)
def test_options_that_cannot_be(options: dict) -> None:
    with pytest.raises(PromptScheduleError) as caught:
        parse("a", **options)
    assert (caught.value.line, caught.value.column) == (None, None)


@pytest.mark.parametrize(
    ("number", "meant"),
    [("0.5", "0.5s, 50%"), (".25", ".25s, 25%"), ("0.250", "0.250s, 25%"), ("0.2500", "0.2500s"), ("0.125", "0.125s"),
     ("1.0", "1.0s"), ("2.5", "2.5s")],
)  # fmt: skip
def test_what_a_number_with_a_point_may_count(number: str, meant: str) -> None:
    error = failure(f"{number}: a")
    assert f"{number} is not a whole frame.\n" in str(error)
    assert str(error).endswith(f"\nWrite a whole frame, or say what it counts: {meant}.")


def test_a_schedule_is_text() -> None:
    with pytest.raises(PromptScheduleError, match=r"^a prompt schedule is text, not NoneType\.$"):
        parse(None)


@pytest.mark.parametrize(("num_frames", "length"), [(1, "1 frame"), (2, "2 frames")])
def test_a_time_outside_a_short_video(num_frames: int, length: str) -> None:
    error = failure("2: a", num_frames, 2)
    assert f"'2' is outside the video, which is {length} long ({num_frames / 2:g} s at 2 fps).\n" in str(error)
    assert str(error).endswith(
        f"Frames count from 0, so the last one is {num_frames - 1}. With beyond_end set to drop, what is later is left "
        "out. If it is part of the prompt, put a word in front of it."
    )


def test_long_lines_are_shown_in_part_with_the_caret_in_place() -> None:
    error = failure('"0": "' + "x" * 300 + '", "4"; "b", ' + "y" * 200)
    shown, caret = str(error).split("\n")[1:3]
    assert error.column == 313
    assert len(shown) < 110 and shown.startswith("  …") and shown.endswith("…")
    assert shown[caret.index("^")] == ";"


def test_what_is_shown_of_a_line() -> None:
    line = "".join(chr(0x4E00 + place) for place in range(300))
    assert excerpt(line[:100], 99) == (line[:100], 99)
    # Of a longer one, 100 characters: 50 before the place, but as many at the ends.
    assert excerpt(line[:101], 50) == (line[:100] + "…", 50)
    assert [excerpt(line[:101], place) for place in (51, 100)] == [("…" + line[1:101], place) for place in (51, 100)]
    assert excerpt(line, 150) == ("…" + line[100:200] + "…", 51)
    assert excerpt("a\tb\0c", 4) == ("a b c", 4)


# --- Properties ------------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    ["0", "1", "12", "48", "95", "96", "2.5", ".", "..", "-", "s", "%", ":", ": ", " ", "\n", "|", '"', "'", "=", ",",
     "{", "}", "[", "]", "[ease 4]", "[hard]", "linear", "a", "a cat", "#", "//", "\\", "`", "\u201c", "\u2013",
     "٣", "２４", "：", "－", "\t", '"0": "a"', "0: a\n", "24-48", '": "']
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=14).map("".join))


@settings(SETTINGS, max_examples=1500)
@given(TEXTS, st.integers(1, 100), st.sampled_from([1, 8.5, 24]))
@example("0: a\n1:05-1:06 [ease]: \\", 96, 24)
def test_any_text_parses_or_fails_with_a_place(text: str, num_frames: int, fps: float) -> None:
    try:
        schedule = parse(text, num_frames, fps)
    except PromptScheduleError as error:
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
        assert error.line is not None and error.column is not None
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        head, shown, caret, remedy = str(error).split("\n")
        assert head.startswith(f"line {error.line}, column {error.column}: ") and head.endswith(".")
        assert remedy
        pointed = (lines[error.line - 1] + " ")[error.column - 1]
        assert (shown + " ")[caret.index("^")] == (pointed if pointed.isprintable() else " ")
    else:
        bounds = [0, *(segment.end for segment in schedule.segments)]
        assert [segment.start for segment in schedule.segments] == bounds[:-1]
        assert bounds[-1] == num_frames
        assert all(segment.prompt.strip() for segment in schedule.segments)


@SETTINGS
@given(
    st.lists(st.integers(0, 95), min_size=1, max_size=8, unique=True),
    st.sampled_from(["hard", "linear", "ease"]),
    st.floats(0, 300),
)
def test_lines_hold_and_cover(frames: list[int], kind: str, length: float) -> None:
    text = "\n".join(f"{frame}: p{frame}" for frame in frames)
    schedule = parse(text, transition=kind, transition_frames=length)
    first, *rest = sorted(frames)
    assert [(s.start, s.prompt) for s in schedule.segments] == [(0, f"p{first}"), *((f, f"p{f}") for f in rest)]
    for segment, after in zip(schedule.segments, [*schedule.segments[1:], None], strict=True):
        # The middle of a segment sees only its prompt, whatever the default transition is.
        middle = min((segment.start + segment.end) / 2, 95)
        if middle == (segment.start + segment.end) / 2:
            assert schedule.weights(middle)[schedule.segments.index(segment)] == pytest.approx(1)
        assert segment.transition.frames <= length
        assert segment.transition.half <= segment.length / 2
        assert after is None or after.transition.half <= segment.length / 2


@SETTINGS
@given(
    st.sampled_from(["12", "2.5s", "50%", "24-48", "1s-2.5s", "25%..50%", "-24", "-10%..-5%", "24..-12"]),
    st.sampled_from("?;!é_"),
    st.data(),
)
def test_the_caret_finds_a_stray_character(time: str, stray: str, data: st.DataObject) -> None:
    digit = re.search("[0-9]", time).start()
    at = data.draw(st.integers(digit + 1, len(time)))
    before, after = time[:at], time[at:]
    error = failure(f"0: a\n  {before}{stray}{after}: b")
    assert type(error) is PromptSyntaxError
    assert error.line == 2
    # At the character itself, or at the sign or unit that it spoils.
    assert error.column == 3 + at or (error.column == 2 + at and before[-1] in "s%.-")
