"""How people write times elsewhere, as public bug reports have it: read, refused at the right place, or warned of."""

from __future__ import annotations

import pytest

from glv_core.co_denoise import CoDenoiseSettings
from glv_core.prompts import (
    ParsedSchedule,
    PromptScheduleError,
    PromptSyntaxError,
    PromptTrack,
    parse_schedule,
    read_schedule,
)
from glv_core.prompts.source import in_front
from glv_core.timeline import Compression


def read(text: str, num_frames: int = 192, fps: float = 24, **options) -> ParsedSchedule:
    return read_schedule(text, num_frames=num_frames, fps=fps, **options)


def starts(text: str, num_frames: int = 192, fps: float = 24, **options) -> list[tuple[float, str]]:
    """(first frame, prompt) of all segments of a text that is read without a warning."""
    parsed = read(text, num_frames, fps, **options)
    assert parsed.warnings == ()
    return [(segment.start, segment.prompt) for segment in parsed.schedule.segments]


def warned(text: str, num_frames: int = 192, **options) -> list[tuple[int, int, str]]:
    """(line, column, what is shown between quotes) of the warnings of a text."""
    return [(each.line, each.column, each.message.split("'")[1]) for each in read(text, num_frames, **options).warnings]


# --- The reports -----------------------------------------------------------------------------------------------------


def test_times_in_brackets_behind_a_text():
    text = "a girl sits on a french boulevard [1s: The person waves hello] [3s: The person jumps up and down]"
    assert starts(text) == [
        (0, "a girl sits on a french boulevard"),
        (24, "The person waves hello"),
        (72, "The person jumps up and down"),
    ]
    assert starts("[0s: a] [5s-8s: b]") == [(0, "a"), (120, "b")]


def test_keys_without_quotes_and_prompts_in_single_ones():
    assert parse_schedule("0:'a cat',\n16:'a dog'", num_frames=32, fps=8).prompts == ("a cat", "a dog")
    assert parse_schedule("0:'a cat',\n16:'a dog'", num_frames=32, fps=8) == parse_schedule(
        '"0": "a cat", "16": "a dog"', num_frames=32, fps=8
    )


def test_bars_with_times_behind_a_text():
    text = "a wide shot of a cafe | she stands up [0-50] | she leaves [50-150]"
    assert starts(text, 150) == [(0, "a wide shot of a cafe, she stands up"), (50, "a wide shot of a cafe, she leaves")]


def test_scenes():
    assert starts("Scene 1: a\nScene 2-5: b", 100) == [(0, "a"), (20, "b")]
    assert starts("Scene 1:\na cat\nsleeps\n\nScene 2-5:\na dog", 100) == [(0, "a cat sleeps"), (20, "a dog")]


def test_a_text_before_the_first_time_is_common_to_all():
    text = "girl,\n0: in jungle\n8: in car\n16: in the space\n24: close up"
    assert starts(text, 32) == [
        (0, "girl, in jungle"),
        (8, "girl, in car"),
        (16, "girl, in the space"),
        (24, "girl, close up"),
    ]


FIZZ = '"0": "a",\n"10": "b",\n"16": "c",\n"32": "d",\n"40": "e",\n"50": "f",\n'


def test_keys_beyond_the_end_are_an_error_or_dropped():
    with pytest.raises(PromptScheduleError, match=r"'32' is outside the video, which is 20 frames long") as caught:
        read(FIZZ, 20)
    assert (caught.value.line, caught.value.column) == (4, 2)
    parsed = read(FIZZ, 20, beyond_end="drop")
    assert parsed.schedule == parse_schedule('"0": "a", "10": "b", "16": "c"', num_frames=20, fps=24)
    (warning,) = parsed.warnings
    assert (warning.line, warning.column) == (4, 2)
    assert "3 prompts lie beyond the end of the video, which is 20 frames long" in str(warning)
    assert str(warning).splitlines()[0].endswith("and are left out: at 32, 40, 50.")


def test_five_prompts_over_four_static_windows():
    wan = Compression.causal(4)
    schedule = parse_schedule("a | b | c | d | e", num_frames=241, fps=16, transition="hard")
    settings = CoDenoiseSettings(wan.num_latent_frames(81), wan.latent_span(16), "static")
    windows = settings.windows(wan.num_latent_frames(241), 0, 20)
    assert [(window.indices[0], window.indices[-1]) for window in windows] == [(0, 20), (17, 37), (34, 54), (40, 60)]
    assert [(each.start, each.end) for each in schedule.segments] == [
        (0, 48),
        (48, 96),
        (96, 145),
        (145, 193),
        (193, 241),
    ]
    # A latent frame has the prompt of its middle: latent 12 holds frames 45 to 48, so 46.5 is still the first.
    track = PromptTrack.of(schedule, 61, wan)
    assert track.weights.argmax(0).tolist() == [0] * 13 + [1] * 12 + [2] * 12 + [3] * 12 + [4] * 12
    assert [track.active(window) for window in windows] == [[0, 1], [1, 2, 3], [2, 3, 4], [3, 4]]


# --- More of their kinds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0:00-0:03 a cat\n0:03-0:06 a dog",
        "00:00-00:03: a cat\n00:03-00:06: a dog",
        "0:00 - 0:03\na cat\n0:03 - 0:06\na dog",
        "[00:00-00:03] a cat\n[00:03-00:06] a dog",
        "[0:00] a cat\n[0:03] a dog",
        "0:00:00: a cat\n0:00:03: a dog",
        "0s - 3s: a cat\n3s - 6s: a dog",
        "0s-3s a cat\n3s-6s a dog",
        "0-3s: a cat\n3-6s: a dog",
        "0 to 72: a cat\n72 to 96: a dog",
        "0 -> 72: a cat\n72 -> 96: a dog",
        "0→72: a cat\n72→96: a dog",
        "0 ~ 72: a cat\n72 ~ 96: a dog",
        "0–72: a cat\n72—96: a dog",
        "(0-3s): a cat\n(3-6s): a dog",
        "(0s-3s) a cat\n(3s-6s) a dog",
        "[0-72] a cat\n[72-96] a dog",
        "[0]: a cat\n[72]: a dog",
        "[0s: a cat] [3s: a dog]",
        "[0s: a cat], [3 sec: a dog].",
        "[0s: a cat]\n[72-96: a dog]",
        "[0 seconds: a cat] [3 seconds: a dog]",
        "0 seconds: a cat\n3 seconds: a dog",
        "frame 0: a cat\nframe 72: a dog",
        "Frames 0-72: a cat\nframes 72-96: a dog",
        "seconds 0-3: a cat\nseconds 3-6: a dog",
        "t=0s: a cat\nt=3s: a dog",
        "@0: a cat\n@72: a dog",
        "**0-3s:** a cat\n**3s-6s**: a dog",
        "- 0s: a cat\n- 3s: a dog",
        "* 0-3s: a cat\n* 3-6s: a dog",
        "1. 0-3s: a cat\n2. 3-6s: a dog",
        "0: 'a cat'\n72: 'a dog'",
        '0: "a cat"\n\n72: "a dog",\n# the end',
        "0: a cat | 72: a dog",
        "[0-72] a cat | [72-100] a dog",
        "a cat [0-72] | a dog [72-100]",
        "a cat [0s-3s] |\na dog [3s-6s].",
        "Scene 1 (0-3s): a cat\nScene 2 (3-6s): a dog",
        "**Shot 1 [0:00-0:03]:** a cat\n**Shot 2 [0:03-0:06]:** a dog",
        "0：a cat\n72：a dog",
        "0:: a cat\n72:: a dog",
        "Frame0: a cat\nFrame72: a dog",
        "*0s* a cat\n*3s* a dog",
        "[00:00] a cat [00:03] a dog",
        "(0:00-0:03) a cat (0:03-0:06) a dog",
        "0:00 - 0:03 | a cat\n0:03 - 0:06 | a dog",
        "From 0s to 3s: a cat\nFrom 3s to 6s: a dog",
        "0–3 sec — a cat\n3–6 sec — a dog",
        "1\n00:00:00,000 --> 00:00:03,000\na cat\n\n2\n00:00:03,000 --> 00:00:06,000\na dog",
        "WEBVTT\n\n00:00.000 --> 00:03.000\na cat\n\n00:03.000 --> 00:06.000\na dog",
    ],
)
def test_ways_that_say_the_same(text: str):
    assert starts(text) == [(0, "a cat"), (72, "a dog")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Behind a scene, what begins like one does.
        ("Scene 1: a man walks, Scene 2: he sits", [(0, "a man walks"), (96, "he sits")]),
        ("Scene 1: a man walks Scene 2: he sits", [(0, "a man walks"), (96, "he sits")]),
        ('Scene 1: "go." Scene 2: he sits', [(0, '"go."'), (96, "he sits")]),
        ("film,\nScene 1: a (b) **Scene 2:** c", [(0, "film, a (b)"), (96, "film, c")]),
        ("a shot 2: b\nScene 1: c", [(0, "a shot 2: b, c")]),
        # A bar in brackets is text; without its partner a bracket is too.
        ("[cat|dog] hybrid", [(0, "[cat|dog] hybrid")]),
        ("(a|b:1.2) c | d", [(0, "(a|b:1.2) c"), (96, "d")]),
        ("{a|{b|c}} | d", [(0, "{a|{b|c}}"), (96, "d")]),
        ("{a|\nb} | c", [(0, "{a| b}"), (96, "c")]),
        ("a :( | b", [(0, "a :("), (96, "b")]),
        ("a ) | (b [c|d) | e", [(0, "a )"), (64, "(b [c|d)"), (128, "e")]),
        ("(a [b) | c) | d", [(0, "(a [b)"), (64, "c)"), (128, "d")]),
        ("\\(a | b\\)", [(0, "\\(a"), (96, "b\\)")]),
        # A time of 0 begins a prompt with or without a colon.
        ("a girl\n[0-24] sits", [(0, "a girl, sits")]),
        ("a girl\n[48]: sits", [(0, "a girl"), (48, "a girl, sits")]),
        ("[0s] a\n3s: b", [(0, "a"), (72, "b")]),
        ("a girl\n[1s] sits\n[3s] stands", [(0, "a girl"), (24, "a girl, sits"), (72, "a girl, stands")]),
        ("00:00:03,000 --> 00:00:05,000\na cat", [(0, "a cat")]),
        # Decades are none, unless times stand beside them.
        ("[1980s] neon city", [(0, "[1980s] neon city")]),
        ("**90s** fashion", [(0, "**90s** fashion")]),
        ("[90s]: anime", [(0, "[90s]: anime")]),
        # Bars at the end of lines with times.
        ("0: a |\n72: b |", [(0, "a"), (72, "b")]),
        # Behind bullets; a bar with a time behind it, after a text; times behind the colons of scenes.
        ("- 0: a\n- 24: b", [(0, "a"), (24, "b")]),
        ("• 0: a\n• 2４: ２", [(0, "a"), (24, "２")]),
        ("intro | 0: a | 48: b", [(0, "intro, a"), (48, "intro, b")]),
        ("Scene 1: (0-3s) a\nScene 2: (3-6s) b", [(0, "a"), (72, "b")]),
        ("Scene 1: [0:00-0:03]: a. Scene 2: [0:03-0:06] - b", [(0, "a."), (72, "b")]),
        ("Scene 1: (1-3) cats\nScene 2: a dog", [(0, "(1-3) cats"), (96, "a dog")]),
        # The digits and signs of other keyboards.
        ("0: a\n–24: b", [(0, "a"), (168, "b")]),
        ("0: a\n\u221224: b", [(0, "a"), (168, "b")]),
        ("0: a\n－24: b", [(0, "a"), (168, "b")]),
        ("０：a\n２４：b ２", [(0, "a"), (24, "b ２")]),
        ("０％：a\n５０％：b", [(0, "a"), (96, "b")]),
        ("0：00：a\n０：０３：b", [(0, "a"), (72, "b")]),
        ("０－２４：a\n[２４]：b", [(0, "a"), (24, "b")]),
        ("２４人, ５：６", [(0, "２４人, ５：６")]),
        # Parts and comments that are no schedule of their own.
        ("Part 1: a | Part 2: b", [(0, "Part 1: a"), (96, "Part 2: b")]),
        ("# Scene 1\n0: a\n# Scene 2\n24: b", [(0, "a"), (24, "b")]),
        ("a\n# 24: b\n# 48: c", [(0, "a")]),
        ("a\n## Scene 1", [(0, "a")]),
    ],
)
def test_what_is_read(text: str, expected: list[tuple[int, str]]):
    assert starts(text) == expected


def test_frames_one_after_another_in_a_short_video_are_meant():
    assert starts("0: a\n1: b\n2: c", 29) == [(0, "a"), (1, "b"), (2, "c")]
    assert warned("0: a\n1: b\n2: c", 30) == [(1, 1, "0")]
    assert starts("1: a\n2: b", 192) == [(0, "a"), (2, "b")]
    assert starts("2: a\n3: b\n4: c", 192)[2] == (4, "c")
    assert starts("0: a\n1: b\n3: c", 192)[2] == (3, "c")


def test_a_text_is_shown_as_it_is_written():
    with pytest.raises(PromptScheduleError, match="\n  ９９９：a\n  \\^\n"):
        read("９９９：a")


def test_a_number_with_its_name_is_no_time_beside_others():
    assert starts("0: a shop. No. 5: perfume\n24: b") == [(0, "a shop. No. 5: perfume"), (24, "b")]


def test_a_decade_beside_times_is_one():
    assert starts("[0s]: a\n[60s]: b", 192, 2) == [(0, "a"), (120, "b")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a wide shot of a girl,\n[18-25] years old", [(2, 1, "[18-25]")]),
        ("a tree,\n[50%] opacity", [(2, 1, "[50%]")]),
        ("a tree,\n(5 s) exposure", [(2, 1, "(5 s)")]),
        ("a tree,\n**5s** exposure", [(2, 3, "5s")]),
        ("[18-25] year old woman", [(1, 1, "[18-25]")]),
        ("(10 seconds) countdown timer", [(1, 1, "(10 seconds)")]),
        ("(12:30) a train leaves", [(1, 1, "(12:30)")]),
        ("Scene 1: a tree\n(5 s) exposure", [(2, 1, "(5 s)")]),
        ("[18-25] year old woman, [50%] opacity", [(1, 1, "[18-25]"), (1, 25, "[50%]")]),
        ("[18-25] year old woman,\n[50%] opacity", [(1, 1, "[18-25]"), (2, 1, "[50%]")]),
        ("[5s] exposure [6s] delay", [(1, 1, "[5s]"), (1, 15, "[6s]")]),
        ("０：３０に起きる", []),
        ("a tank,\nT 34: soviet tank", []),
        ("a tree,\nf 8: landscape", []),
        ("kid's drawing\nPrompt 1: foo", [(2, 1, "Prompt 1:")]),
    ],
)
def test_a_single_time_at_the_start_of_a_line_is_part_of_the_prompt(text: str, expected: list[tuple[int, int, str]]):
    assert warned(text) == expected
    (segment,) = read(text).schedule.segments
    assert segment.prompt == " ".join(text.removeprefix("Scene 1: ").split("\n"))


def test_what_makes_it_a_time_is_said():
    (warning,) = read("[18-25] year old woman").warnings
    assert str(warning).endswith(
        "It begins a prompt with a colon behind it, as in 48: a prompt. If this is no time, leave it."
    )
    (warning,) = read("kid's drawing\nPrompt 1: foo").warnings
    assert "where Prompt 2: is there too" in str(warning)
    assert starts("kid's drawing\nPrompt 1: foo\nPrompt 2: bar")[1] == (96, "kid's drawing, bar")
    assert starts("Prompt 1: foo") == [(0, "foo")]


def test_a_single_time_without_a_colon_beside_others_is_refused():
    with pytest.raises(PromptSyntaxError, match="colon is missing") as caught:
        read("0: a girl,\n[18-25] years old\n48: a boy")
    assert (caught.value.line, caught.value.column) == (2, 7)
    assert str(caught.value).endswith("put a word in front of it.")


@pytest.mark.parametrize(
    "text", ["90s: anime", "3人：两女一男", "12月25日：a", "Shot 3: closeup", "Scene 1: a, Scene 1: b"]
)
def test_prose_that_is_refused_is_told_the_way_out(text: str):
    with pytest.raises(PromptScheduleError) as caught:
        read(text)
    assert str(caught.value).endswith("If it is part of the prompt, put a word in front of it.")
    assert starts(f"so {text}")


@pytest.mark.parametrize("text", ['"0": "a", "900": "b"', "0: a\n900: b", "[0s: a] [90s: b]", '0 = "a", 900 = "b"'])
def test_what_lies_outside_is_told_of_beyond_end(text: str):
    with pytest.raises(PromptScheduleError, match="With beyond_end set to drop, what is later is left out") as caught:
        read(text)
    # A key or a bracket in the middle of a line is no prose.
    assert ("put a word in front of it" in str(caught.value)) == text.endswith("\n900: b")
    with pytest.raises(PromptScheduleError) as caught:
        read("0: a\n-900: b")
    assert "beyond_end" not in str(caught.value)


@pytest.mark.parametrize("text", ["a girl [300s: c]", "a girl\n500: c", "a girl | c [500-600]", 'a girl\n"500": "c"'])
def test_the_head_stays_where_all_others_are_dropped(text: str):
    parsed = read(text, beyond_end="drop", common_text="photo")
    assert [(each.start, each.end, each.prompt) for each in parsed.schedule.segments] == [(0, 192, "photo, a girl")]
    (warning,) = parsed.warnings
    assert "1 prompt lies beyond the end" in str(warning)


def test_scenes_on_one_line_and_with_bars():
    assert starts("Shot 1: a cat. Shot 2: a dog. Shot 3: a bird") == [(0, "a cat."), (64, "a dog."), (128, "a bird")]
    assert starts("scene 1: a cat | scene 2: a dog") == [(0, "a cat"), (96, "a dog")]
    assert starts("Prompt 1: a cat\nPrompt 2: a dog") == [(0, "a cat"), (96, "a dog")]
    assert starts("SCENE 2: b\nscene 1: a") == [(0, "a"), (96, "b")]
    assert starts("film,\nScene 1: a\nScene 2: b") == [(0, "film, a"), (96, "film, b")]
    assert starts("a scene: 3 men, scene 5 of the film") == [(0, "a scene: 3 men, scene 5 of the film")]


def test_the_unit_at_the_end_of_a_range_is_that_of_both_ends():
    assert starts("1-3s: a\n3-6s: b")[1] == (72, "b")
    assert starts("0: z\n1 - 3 sec: a") == [(0, "z"), (24, "a")]
    assert starts("0: z\n25-50%: a") == [(0, "z"), (48, "a")]
    assert starts("0: z\n24..50%: a") == [(0, "z"), (24, "a")]  # two dots: each as it is written
    assert starts("0: z\n24..2s: a") == [(0, "z"), (24, "a")]


def test_a_head_has_the_time_before_the_first_one():
    assert starts("a beach,\n48: a cat\n96: a dog") == [(0, "a beach,"), (48, "a beach, a cat"), (96, "a beach, a dog")]
    assert starts("a beach | a cat [48-96] | a dog [96-192]")[:2] == [(0, "a beach"), (48, "a beach, a cat")]
    # In brackets prompts stay as they are written, unless the head would be lost.
    assert starts("a beach [2s: a cat]") == [(0, "a beach"), (48, "a cat")]
    assert starts("a beach [0s: a cat] [3s: a dog]") == [(0, "a beach, a cat"), (72, "a beach, a dog")]
    assert starts("# title\na\nbeach\n0: a cat") == [(0, "a beach, a cat")]


def test_a_head_before_keys():
    text = 'a beach,\n"0:": "a cat",\n"72": "a dog"'
    assert starts(text) == [(0, "a beach, a cat"), (72, "a beach, a dog")]
    assert starts('a beach,\n{"0:": "a cat", "72": "a dog"}') == [(0, "a beach, a cat"), (72, "a beach, a dog")]


@pytest.mark.parametrize("text", ['0":"a",\n"24": "b"', '""0: "a",\n"24": "b"'])
def test_a_slip_in_the_first_key_makes_no_head(text: str):
    with pytest.raises(PromptSyntaxError) as caught:
        read(text)
    assert caught.value.line == 1


def test_brackets_inside_the_prompts_of_brackets():
    assert starts("[0s: a [red] car] [3s: (a:1.2) [b]]") == [(0, "a [red] car"), (72, "(a:1.2) [b]")]
    assert starts("a [red] car [3s: it\nstops]") == [(0, "a [red] car"), (72, "it stops")]


def test_apostrophes_in_single_quotes():
    for text in ("0:'it's a cat',\n16:'a dog'", "'0': 'it's a cat', '16': 'a dog'"):
        assert parse_schedule(text, num_frames=32, fps=8).prompts == ("it's a cat", "a dog")
    assert starts("0: 'it's the cats' bed'\n72: 'a dog'") == [(0, "it's the cats' bed"), (72, "a dog")]


def test_quotes_stay_where_not_all_prompts_have_them():
    assert starts("0: 'a cat'\n72: a dog") == [(0, "'a cat'"), (72, "a dog")]
    assert starts("0: 'yes' or 'no'") == [(0, "'yes' or 'no'")]
    assert starts("'a cat' | 'a dog'") == [(0, "a cat"), (96, "a dog")]
    assert starts("'a cat'") == [(0, "'a cat'")]


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("a [1s: b", 1, 3, "never closed"),
        ("a\n[1s: b [2s: c]]", 2, 8, "inside the brackets of another"),
        ("[1s: b] and [2s: c]", 1, 9, "belongs to none"),
        ("[1s: b], then c", 1, 10, "belongs to none"),
        ("a [5s-: b]", 1, 7, "a time is missing"),
        ("a [1.5.2s: b]", 1, 7, "'.' is not a time"),
        ("a | b [0-50] | c", 1, 16, "has no time"),
        ("a [50] | b [100]", 1, 3, "a start or a length"),
        ("[0] a\n[24] b", 1, 2, "a frame or the number of a scene"),
        ("0s-3s: a\n3s-6s b", 2, 6, "colon is missing"),
        ("0 a cat\n24 a dog", 1, 2, "colon is missing"),
        ("@0 a cat\n@24 a dog", 1, 3, "colon is missing"),
        ("0s a cat\n3s a dog", 1, 3, "colon is missing"),
        ("a beach\n0 a cat\n24: a dog", 2, 2, "colon is missing"),
        ("0;a cat\n24;a dog", 1, 2, "colon is missing"),
        ("0:00 a cat\n0:03 a dog", 1, 2, "can be a time"),
        ("Scene 1:\n0-3s: a\nScene 2:\n3-6s: b", 2, 1, "inside a scene"),
        ("Scene 1 (0-3s): a\nScene 2: b", 2, 1, "has no time"),
        ("Shot 1 (3s): a\nShot 2 (5s): b", 1, 9, "the start of a scene or its length"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(text: str, line: int, column: int, says: str):
    with pytest.raises(PromptSyntaxError) as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("Scene 2: a", 1, 1, "scene 1 is missing"),
        ("Scene 1: a\nScene 3: b", 2, 1, "scene 2 is missing"),
        ("Scene 1-2: a\nScene 2: b", 2, 1, "scene 2 is there twice"),
        ("Scene 3-1: a", 1, 1, "are none"),
        ("Scene 1: a\nScene 2:\nScene 3: c", 2, 1, "no prompt after this scene"),
        ("Scene 1: a\nScene 2-999: b", 2, 1, "999 scenes do not fit into 192 frames"),
        ("[0s: a] [9s: b]", 1, 10, "'9s' is outside the video"),
        ("[0s: a] [0s: b]", 1, 10, "two prompts start on frame 0"),
        ("a [0-50] | b [20-60]", 1, 15, "overlaps"),
        ("a [0-50] | [50-60]", 1, 13, "no prompt"),
    ],
)
def test_what_cannot_be_says_where(text: str, line: int, column: int, says: str):
    with pytest.raises(PromptScheduleError) as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert says in str(caught.value)


# --- Warnings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("she stands up [0-50]", [(1, 15, "[0-50]")]),
        ("a cat, then [3s] a dog", [(1, 13, "[3s]")]),
        ("a cat (0s-3s), a dog", [(1, 7, "(0s-3s)")]),
        ("a cat <0-24> and <24-48> a dog", [(1, 7, "<0-24>"), (1, 18, "<24-48>")]),
        ("a cat, then [10s] a dog, (20s) a bird", [(1, 13, "[10s]"), (1, 26, "(20s)")]),
        ("0-10s she waves", [(1, 1, "0-10s")]),
        ("0s-3s she waves", [(1, 1, "0s-3s")]),
        ("a cat. 0-3s it sits", [(1, 8, "0-3s")]),
        ("a cat at 0:03-0:06 on a wall", [(1, 10, "0:03-0:06")]),
        ("0: a cat, 24: a dog", [(1, 11, "24:")]),
        ("0: a cat\nthen 3s: a dog", [(2, 6, "3s:")]),
        ("0: a cat\n- 24: a dog", [(2, 3, "24:")]),
        ("0: a cat\n [1s: a dog]", [(2, 2, "[1s:")]),
        ("a cat, frame 24: a dog", [(1, 14, "24:")]),
        ("0: a cat; Scene 2: a dog", [(1, 11, "Scene 2")]),
        ('a girl, "0": "in a car"', [(1, 9, '"0"')]),
        ('"0": "a cat [1s: it sits]"', [(1, 13, "[1s:")]),
        ("a cat. 0 -> 24 it sits", [(1, 8, "0 -> 24")]),
        ("0..24 a cat", [(1, 1, "0..24")]),
        ("a cat (0-24), a dog", [(1, 7, "(0-24)")]),
        ("0s: a cat\n3s a dog", [(2, 1, "3s")]),
        ("Scene 1 - a cat\nScene 2 - a dog", [(1, 1, "Scene 1"), (2, 1, "Scene 2")]),
        ("Scene 1: a cat\nScene 2 a dog", [(2, 1, "Scene 2")]),
        ("- time: 0\n  prompt: a cat", [(1, 3, "time: 0")]),
        ('[{"frame": 24, "prompt": "a cat"}]', [(1, 4, 'frame": 24')]),
        ("0: a [ease 12]\n24: b", [(1, 6, "[ease 12]")]),
        # Scenes of other names, in brackets, as headings; times without a colon.
        ("[Scene 1] a\n[Scene 2] b", [(1, 1, "[Scene 1]"), (2, 1, "[Scene 2]")]),
        ("(Scene 1) a\n(Scene 2) b", [(1, 2, "Scene 1)")]),
        ("镜头1：a\n镜头2：b", [(1, 1, "镜头1：")]),
        ("【场景 １】a\n【场景 ２】b", [(1, 2, "场景 １】")]),
        ("第0秒：a\n第3秒：b", [(1, 1, "第0秒：")]),
        ("Szene 1: a\nSzene 2: b", [(1, 1, "Szene 1:")]),
        ("Scène 1 : a\nScène 2 : b", [(1, 1, "Scène 1 :")]),
        ("**Escena 1:** a\n**Escena 2:** b", [(1, 3, "Escena 1:")]),
        ("Сцена 1: a\nСцена 2: b", [(1, 1, "Сцена 1:")]),
        ("Part 1: a, part 2: b, part 10: c", [(1, 1, "Part 1:")]),
        ("a film: Scene 1: a, Scene 2: b", [(1, 9, "Scene 1:")]),
        ("Beat 1: a. Cut 1: b. Beat 2: c. Cut 2: d", [(1, 1, "Beat 1:"), (1, 12, "Cut 1:")]),
        ("## Scene 1\na man\n## Scene 2\na woman", [(1, 1, "## Scene 1")]),
        ("a film\n# Take 1\na man\n# Take 2:\na woman", [(2, 1, "# Take 1")]),
        ("### 0s\na\n### 3s - it goes on\nb", [(1, 1, "### 0s")]),
        ("frame 0 a\nframe 24 b", [(1, 1, "frame 0")]),
        ("t=0 a\nt=3 b", [(1, 1, "t=0")]),
        ("0s a, 3s b", [(1, 1, "0s")]),
        ("a man 0s-3s\nsits", [(1, 7, "0s-3s")]),
        ("0: a. 24: b", [(1, 7, "24:")]),
        ("0: a\n“24”: b", [(2, 1, "“24”:")]),
        ('0: a\n"24": b', [(2, 1, '"24":')]),
        ("A man:\n- 3: dogs\n- 4: cats", [(2, 3, "3:"), (3, 3, "4:")]),
        ("intro | 24: a", [(1, 9, "24:")]),
        ("a | [0s] b | [3s] c", [(1, 5, "[0s]"), (1, 14, "[3s]")]),
        # Prompts that are only counted.
        ("1: a\n2: b\n3: c", [(1, 1, "1")]),
        ('"0": "a", "1": "b", "2": "c"', [(1, 1, "0")]),
    ],
)
def test_what_looks_like_a_time_and_is_not_read_as_one_is_shown(text: str, expected: list[tuple[int, int, str]]):
    assert warned(text) == expected
    for warning in read(text).warnings:
        head, shown, caret, _ = str(warning).split("\n")
        assert head.startswith(f"line {warning.line}, column {warning.column}: '")
        assert shown[caret.index("^")] == text.split("\n")[warning.line - 1][warning.column - 1]


@pytest.mark.parametrize(
    "text",
    [
        "a man at 5 pm",
        "24 fps film look",
        "ratio 16:9",
        "a [red] car",
        "[red:1.2] cars, (cat:1.2), [cat:dog:0.5], 8k",
        "the 1980s: a neon city; the roaring 20s: jazz",
        "disco of the 70s-80s: a ball",
        "(1980s) a street",
        "(50%) grey",
        "(1-3) cats",
        "a street in the 90s, 35mm, f/1.8: bokeh",
        "open 9:00-17:00, a shop",
        "meet 2:30-3:00 pm",
        "a clock that shows 12:30",
        "a 5-10s loop of rain",
        "John 3:16 on a sign, Psalm 23:1-6",
        "a group of people (3-5), level (1-2)",
        "Blade Runner 2049: a city; Area 51: aliens",
        "chapter 3: the return, No. 5: perfume",
        "1girl, solo, 2 dogs: running",
        "50% opacity, 100% cotton, (50%) grey",
        "score 3-2, aged 20-30: students",
        "Canon EOS 5D, 24-70mm lens, ISO 100-200",
        "a 1920x1080 frame, 4:3, [2:1] format",
        'a sign that says "24": open',
        "at 24 fps, frames 1 to 5",
        "in 3 seconds: boom",
        "photo of 2021-05-03, call 555-1234",
        "10-15 birds",
        "Version 2.0: better, iPhone 15 Pro: photo",
        "a cat\n24 hours later\n3 dogs",
        "Scene 5 of a film. Scene 6 shows a cat",
        "1. a cat\n2. a dog",
        "a cat (take 1) and (take 2)",
        "Area 52: aliens, Area 51: more",
        "step 1:2, step 2:3, Psalm 23:1, Psalm 24:1",
        "T 34: tank\nf 8: landscape",
        "a sprint of 5-10s",
        "frame 5 of a film",
        "a shop. No. 5: a perfume",
    ],
)
def test_sentences_with_numbers_are_left_alone(text: str):
    assert [prompt for _, prompt in starts(text)] == [" ".join(text.split("\n"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("At 0s, he walks. At 3s, he sits.", [(1, 1, "At 0s")]),
        ("He walks. At 3s he sits down", [(1, 11, "At 3s")]),
        ("a man walks at 0s", [(1, 13, "at 0s")]),
        ("he walks at 2s and sits at 5s", [(1, 10, "at 2s")]),
        ("From 3 to 6 seconds, he runs", [(1, 1, "From 3 to 6 seconds")]),
        ("a dog. Then at 3 seconds it barks", [(1, 13, "at 3 seconds")]),
        ("At frame 24, she turns. At frame 48, she stops.", [(1, 1, "At frame 24")]),
        ("a fox\nAt second 4 it jumps", [(2, 1, "At second 4")]),
        ("at the 5-second mark, she jumps", [(1, 1, "at the 5-second mark")]),
        ("At the 3s mark he sits", [(1, 1, "At the 3s mark")]),
        ("In the first 3 seconds he walks, in the next 3 seconds he sits", [(1, 1, "In the first 3 seconds")]),
        ("After 10 seconds, the balloon bursts", [(1, 1, "After 10 seconds")]),
        ("she waits; until 4s, then leaves", [(1, 12, "until 4s")]),
        ("At 50%, the leaf turns red", [(1, 1, "At 50%")]),
        ("A cat sits (at 2.5s) and looks up", [(1, 13, "at 2.5s")]),
        ("At 0:03 a door opens", [(1, 1, "At 0:03")]),
        ("At 3s a man enters", [(1, 1, "At 3s")]),
        ("a boat, starting at 4 sec it sinks", [(1, 18, "at 4 sec")]),
        ("From frame 0 to frame 24 she reads", [(1, 1, "From frame 0")]),
        ("0s: he walks. At 2s he stops\n4s: he sits", [(1, 15, "At 2s")]),
        ("a | b at 0s", [(1, 7, "at 0s")]),
    ],
)
def test_times_that_sentences_speak_of_are_warned_of(text: str, expected: list[tuple[int, int, str]]):
    assert warned(text) == expected


def test_how_many_times_sentences_speak_of_is_said():
    (warning,) = read("At 0s, he walks. At 3s, he sits.").warnings
    assert "'At 0s' and 1 more look like times, but are read as part of a prompt." in str(warning)
    (warning,) = read("a dog", common_text="At 3s it rains").warnings
    assert "'At 3s' looks like a time, but is read as part of a prompt." in str(warning) and warning.common
    assert len(read(" | ".join(["at 0s a"] * 30)).warnings) == 10


@pytest.mark.parametrize(
    "text",
    [
        "At 24 frames per second, a city",
        "shot at 60 frames/s",
        "a long exposure at 5s",
        "music from the 90s",
        "From the 1980s to the 1990s, a city",
        "At 3:00 pm, tea; at 12:30 a train leaves",
        "at 50% opacity, at 100% zoom",
        "from 2 to 5 people, after 3 men",
        "lines at 5s and at 3s",
        "at 5 seconds a frame",
        "seen from 20 f",
    ],
)
def test_sentences_that_speak_of_other_numbers_are_left_alone(text: str):
    assert starts(text) == [(0, text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[18-25] years\n[5-9] x", [(1, 1, "[18-25]"), (2, 1, "[5-9]")]),
        ("[3s-5s] exposure\n[1s-2s] delay", [(1, 1, "[3s-5s]"), (2, 1, "[1s-2s]")]),
        ("**5s** exposure\n**1s** delay", [(1, 3, "5s"), (2, 3, "1s")]),
        ("[2-3] cats\n[9-12] dogs\n[5-6] birds", [(1, 1, "[2-3]"), (2, 1, "[9-12]"), (3, 1, "[5-6]")]),
    ],
)
def test_ranges_without_colons_that_do_not_rise_are_no_times(text: str, expected: list[tuple[int, int, str]]):
    assert warned(text) == expected
    (segment,) = read(text).schedule.segments
    assert segment.prompt == " ".join(text.split("\n"))


def test_ranges_that_do_not_rise_are_times_where_that_is_sure():
    assert starts("[24-48] b\n[0-24] a") == [(0, "a"), (24, "b")]
    assert starts("[24-48]: b\n[12-24]: a") == [(0, "a"), (24, "b")]
    assert starts("48-72: b\n24-48: a") == [(0, "a"), (48, "b")]
    assert starts("[18-25] a\n[30-35] b") == [(0, "a"), (30, "b")]
    with pytest.raises(PromptScheduleError, match="overlaps with line 1"):
        read("[18-25] a\n[20-30] b")


def test_many_warnings_end_with_their_number():
    parsed = read("a cat " + "[1-3] " * 25)
    assert len(parsed.warnings) == 11
    assert "15 more look like times" in str(parsed.warnings[-1])


# --- Common text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("front", "prompt", "both"),
    [
        ("girl,", "in jungle", "girl, in jungle"),
        ("girl", "in jungle", "girl, in jungle"),
        (" girl ,, ", ", in jungle", "girl, in jungle"),
        ("A girl.", "She waves", "A girl. She waves"),
        ("style:", "ink", "style: ink"),
        ("女の子、", "森", "女の子、 森"),
        ("", " a ", "a"),
        (",", "a", "a"),
        ("girl,", ",", "girl"),
    ],
)
def test_one_separator_between_common_text_and_prompt(front: str, prompt: str, both: str):
    assert in_front(front, prompt) == both


@pytest.mark.parametrize(
    "text",
    [
        "0: a\n96: b",
        "a | b",
        '"0:": "a", "96": "b"',
        "[0s: a] [4s: b]",
        "Scene 1: a\nScene 2: b",
        "a [0-9] | b [96-99]",
    ],
)
def test_the_common_text_stands_in_front_of_every_prompt(text: str):
    assert starts(text, common_text="photo,\n# not this\n4k") == [(0, "photo, 4k, a"), (96, "photo, 4k, b")]


def test_the_common_text_stands_in_front_of_the_head():
    assert starts("girl,\n0: a\n96: b", common_text="photo") == [(0, "photo, girl, a"), (96, "photo, girl, b")]


def test_times_in_the_common_text_are_warned_of():
    (warning,) = read("0: a", common_text="photo\n[0-24] girl").warnings
    assert (warning.line, warning.column, warning.common) == (2, 1, True)
    assert str(warning).startswith("common text, line 2, column 1: '[0-24]' looks like a time")


# --- Beyond the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept", "says"),
    [
        ("0: a\n16: b\n32: c\n2s: d", [(0, "a"), (16, "b")], ["at 32, 2s."]),
        ("0: a\n16-40: b\n40: c", [(0, "a"), (16, "b")], ["ends before 40", "1 prompt lies", "at 40."]),
        ("[0s: a] [2s: b]", [(0, "a")], ["at 2s."]),
        ("a [0-10] | b [10-30] | c [30-50]", [(0, "a"), (10, "b")], ["ends before 30", "at 30."]),
        ("Scene 1 (0-10): a\nScene 2 (20-30): b", [(0, "a")], ["at 20."]),
        ('"0:": "a", "10:40": "b", "50": "c"', [(0, "a"), (10, "b")], ["ends before 40", "at 50."]),
        ("\n".join(f"{frame}: a" for frame in range(0, 40)), None, ["and 10 more"]),
    ],
)
def test_what_lies_beyond_the_end_can_be_dropped(text: str, kept: list | None, says: list[str]):
    with pytest.raises(PromptScheduleError, match="outside the video"):
        read(text, 20)
    parsed = read(text, 20, beyond_end="drop")
    assert kept is None or [(each.start, each.prompt) for each in parsed.schedule.segments] == kept
    told = "\n".join(map(str, parsed.warnings))
    assert [word for word in says if word not in told] == []


@pytest.mark.parametrize("text", ["24: a\n48: b", '"32": "a", "48": "b"', "[2s: a]", "-30: a", "0: a\n-30: b"])
def test_what_cannot_be_dropped_is_an_error_still(text: str):
    with pytest.raises(PromptScheduleError, match="outside the video, which is 20 frames"):
        read(text, 20, beyond_end="drop")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"beyond_end": "keep"}, "beyond_end is 'keep'; it must be error or drop"), ({"common_text": None}, "is text")],
)
def test_options_that_cannot_be(options: dict, says: str):
    with pytest.raises(PromptScheduleError, match=says):
        read("a", **options)
