"""Changes of the strip in the text: what they write, and that what was not touched stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glv_core.prompts import PromptScheduleError, parse_schedule
from glv_core.prompts.editing import Timing, edited
from glv_core.prompts.view import view

TIMING = Timing(240, 24.0)
LINES = "# intro\nmasterpiece\n0: a calm sea\n# wind\n5s [ease 12]: the wind rises,\n   high waves\n75%: a storm\n# end"
BRACKETS = "a girl sits [1s: she waves] [3s: she jumps]"
TIMED_BARS = "all | a [0-50] | b [50-150]"
CLOCKS = "[0:00-0:03] a\n[0:03-0:05] b"
SUBTITLES = (
    "1\n00:00:00,000 --> 00:00:03,000\na cat\n\n2\n00:00:03,000 --> 00:00:05,000\na dog\n\n"
    "3\n00:00:06,000 --> 00:00:08,000\na bird\n"
)
KEYS = '{"0": "a", // c\n"24": "b", "100": "c"}'


@pytest.mark.parametrize(
    ("text", "change", "options", "wanted"),
    [
        # Only what changes is written, in the unit in which it was.
        (LINES, "move", {"index": 1, "frame": 100}, LINES.replace("5s [", "4.17s [")),
        (LINES, "move", {"index": 2, "frame": 190}, LINES.replace("75%", "79.17%")),
        (LINES, "move", {"index": 1, "frame": 150, "ripple": True}, LINES.replace("5s", "6.25s").replace("75", "87.5")),
        (LINES, "fade", {"index": 2, "kind": "linear", "frames": 20.0}, LINES.replace("75%", "75% [linear 20]")),
        (LINES, "fade", {"index": 1, "kind": ""}, LINES.replace(" [ease 12]", "")),
        (LINES, "fade", {"index": 1, "kind": "hard"}, LINES.replace("ease 12", "hard")),
        (LINES, "fade", {"index": 1, "kind": "ease", "frames": 999.0}, LINES.replace("12]", "120]")),
        (LINES, "split", {"frame": 150}, LINES.replace("waves\n", "waves\n6.25s: the wind rises, high waves\n")),
        (LINES, "split", {"frame": 60, "words": "x\ny"}, LINES.replace("sea\n", "sea\n60: x y\n")),
        (LINES, "remove", {"index": 1}, LINES.replace("5s [ease 12]: the wind rises,\n   high waves\n", "")),
        (LINES, "remove", {"index": 0}, LINES.replace("0: a calm sea\n", "").replace("5s", "0s")),
        (LINES, "remove", {"index": 2}, LINES.replace("75%: a storm\n", "")),
        (LINES, "retype", {"index": 1, "words": "calm"}, LINES.replace("the wind rises,\n   high waves", "calm")),
        ("0: a\n-24: b", "move", {"index": 1, "frame": 200}, "0: a\n-40: b"),
        ("0: a\n-2s: b", "split", {"frame": 230}, "0: a\n-2s: b\n-0.42s: b"),
        ("12: a\n48: b", "split", {"frame": 6}, "0: a\n6: a\n48: b"),
        ("1-3s: a\n3-5s: b", "move", {"index": 1, "frame": 60}, "1-2.5s: a\n2.5-5s: b"),
        ("0: a\n1:05: b\n0:01: c", "move", {"index": 1, "frame": 36}, None),
        ("24f: b\n0: a", "move", {"index": 1, "frame": 30}, "30f: b\n0: a"),  # the order of the text stays
        ("0: 'a'\n48: 'b'", "retype", {"index": 1, "words": "it's"}, "0: 'a'\n48: 'it's'"),
        ("0: a | 48: b", "remove", {"index": 1}, "0: a"),
        (CLOCKS, "move", {"index": 1, "frame": 60}, "[0:00-0:02.5] a\n[0:02.5-0:05] b"),
        (CLOCKS, "split", {"frame": 30}, "[0:00-0:01.25] a\n[0:01.25-0:03] a\n[0:03-0:05] b"),
        (BRACKETS, "move", {"index": 1, "frame": 30}, BRACKETS.replace("1s", "1.25s")),
        (BRACKETS, "split", {"frame": 48}, BRACKETS.replace("es] ", "es] [2s: she waves] ")),
        (BRACKETS, "remove", {"index": 2}, BRACKETS.replace(" [3s: she jumps]", "")),
        (BRACKETS, "retype", {"index": 0, "words": "a boy"}, BRACKETS.replace("a girl sits", "a boy")),
        (TIMED_BARS, "move", {"index": 1, "frame": 60}, "all | a [0-60] | b [60-150]"),
        (TIMED_BARS, "retype", {"index": 1, "words": "bb"}, "all | a [0-50] | bb [50-150]"),
        ("a | b | c", "retype", {"index": 1, "words": "bb"}, "a | bb | c"),
        ("Scene 1 (0s-3s): a\nScene 2 (3s-6s): b", "move", {"index": 1, "frame": 60},
         "Scene 1 (0s-2.5s): a\nScene 2 (2.5s-6s): b"),
        # Words that only look like a comment, and commas that are the prompt's own.
        ("0: # hash\n48: b", "retype", {"index": 0, "words": "a"}, "0: a\n48: b"),
        ("a cat, | a dog", "retype", {"index": 0, "words": "x"}, "x | a dog"),
        ("0: a |\n48: b |", "retype", {"index": 0, "words": "x"}, "0: x |\n48: b |"),
        ("0: 'a'\n48: 'b'", "split", {"frame": 24}, "0: 'a'\n24: 'a'\n48: 'b'"),
        # Subtitles stay subtitles, with their numbers, their digits and their commas.
        (SUBTITLES, "retype", {"index": 0, "words": "x"}, SUBTITLES.replace("a cat", "x")),
        (SUBTITLES, "move", {"index": 1, "frame": 60}, SUBTITLES.replace("03,000", "02,500")),
        (SUBTITLES, "split", {"frame": 24},
         SUBTITLES.replace("03,000\na cat", "01,000\na cat\n\n00:00:01,000 --> 00:00:03,000\na cat", 1)),
        (SUBTITLES, "remove", {"index": 1},
         SUBTITLES.replace("2\n00:00:03,000 --> 00:00:05,000\na dog\n", "").replace("03,000", "06,000")),
        (SUBTITLES, "remove", {"index": 2}, SUBTITLES.replace("3\n00:00:06,000 --> 00:00:08,000\na bird\n", "")),
        # A first prompt with a later time gets another one only where it must.
        ("12: a\n48: b", "split", {"frame": 60}, "12: a\n48: b\n60: b"),
        ("12: a\n48: b", "move", {"index": 1, "frame": 5}, "0: a\n5: b"),
        ("25%..50%: a\n50%..75%: b", "move", {"index": 1, "frame": 24}, "0%..10%: a\n10%..75%: b"),
        # A transition that another prompt cuts becomes as long as fits.
        ("0: a\n48 [ease 12]: b", "split", {"frame": 44}, "0: a\n44: a\n48 [ease 8]: b"),
        ("0: a\n2s [ease 0.5s]: b", "split", {"frame": 50}, "0: a\n2s [ease 0.166s]: b\n2.08s: b"),
        (TIMED_BARS, "split", {"frame": 25}, "all | a [0-25] | a [25-50] | b [50-150]"),
        ("a [0-50]\n| b [50-90] | c [90-99]", "remove", {"index": 2}, "a [0-50]\n| b [50-240]"),
        # What the way of writing cannot say turns the text into lines.
        ("a [0-50] |\n# note\nb [50-150]", "remove", {"index": 1}, "0: a\n# note"),
        ("Scene 1 (0s-3s): a\nScene 2 (3s-6s): b", "split", {"frame": 96}, "0s: a\n3s: b\n4s: b"),
        ("**0:** a\n**2s:** b\n0:04 [ease 12]: c", "fade", {"index": 1, "kind": "hard"},
         "0: a\n2s [hard]: b\n0:04 [ease 12]: c"),
        (KEYS, "split", {"frame": 2}, "0: a\n2: a\n// c\n12 [linear 20]: b\n62 [linear 76]: c"),
        ("a | b | c", "move", {"index": 1, "frame": 100}, "0: a\n100: b\n160: c"),
        ("a | b | c", "remove", {"index": 1}, "0: a\n160: c"),
        ("just this", "split", {"frame": 30}, "0: just this\n30: just this"),
        (BRACKETS, "fade", {"index": 1, "kind": "ease", "frames": 6.0},
         "0: a girl sits\n1s [ease 0.25s]: she waves\n3s: she jumps"),
        ("Scene 1: a\n# two\nScene 2: b", "split", {"frame": 60}, "0: a\n60: a\n# two\n120: b"),
        (KEYS, "move", {"index": 1, "frame": 20},
         "0: a\n// c\n20 [linear 24]: b\n62 [linear 60]: c"),
    ],
)  # fmt: skip
def test_a_change_is_written_into_the_text(text, change, options, wanted):
    if wanted is None:
        with pytest.raises(PromptScheduleError):
            edited(text, TIMING, change, **options)
    else:
        assert edited(text, TIMING, change, **options) == wanted


def test_a_border_stops_where_a_neighbour_needs_its_frames():
    text = "0: a\n100 [linear 20]: b\n140 [linear 20]: c"
    assert edited(text, TIMING, "move", index=1, frame=500) == text.replace("100", "120")
    assert edited(text, TIMING, "move", index=1, frame=-5) == text.replace("100", "10")
    rippled = edited(text, TIMING, "move", index=1, frame=500, ripple=True)
    assert rippled == text.replace("100", "190").replace("140", "230")


@pytest.mark.parametrize("fps", [23.976, 29.97, 30.0])
def test_the_longest_transition_in_seconds_fits(fps):
    """Two decimals of a second would be more than there is."""
    text = edited("0: a\n50: b\n5s: c", Timing(240, fps), "fade", index=2, kind="ease", frames=999.0)
    seen = view(text, Timing(240, fps))["segments"][2]
    assert seen["frames"] == pytest.approx(2 * min(seen["start"] - 50, 240 - seen["start"]), abs=0.05)
    assert "s [ease " in text


@pytest.mark.parametrize(
    "text", [LINES, BRACKETS, TIMED_BARS, CLOCKS, SUBTITLES, "a [0s-2s] | b [2s-4s]", "0:a | 90:b"]
)
def test_nothing_piles_up(text):
    seen = []
    for _ in range(4):
        text = edited(edited(text, TIMING, "split", frame=40), TIMING, "remove", index=1 if text != BRACKETS else 2)
        text = edited(edited(text, TIMING, "split", frame=200), TIMING, "remove", index=len(said(text)))
        seen.append(text)
    assert seen[3] == seen[1]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ("move", {"index": 0, "frame": 5}, "there is no border"),
        ("move", {"index": 9, "frame": 5}, "there is no border"),
        ("split", {"frame": 0}, "one begins there"),
        ("split", {"frame": 240}, "no frame"),
        ("retype", {"index": 1, "words": " \n "}, "needs words"),
        ("fade", {"index": 1, "kind": "slow"}, "'slow' is not a transition"),
        ("turn", {}, "'turn' is no change"),
    ],
)
def test_what_cannot_be_done_is_said(change, options, message):
    with pytest.raises(PromptScheduleError, match=message):
        edited("0: a\n100: b", TIMING, change, **options)


def test_the_only_prompt_stays():
    with pytest.raises(PromptScheduleError, match="the only prompt"):
        edited("0: a", TIMING, "remove", index=0)


def test_prompts_beyond_the_end_are_not_lost():
    timing = Timing(100, 24.0, beyond_end="drop")
    text = "0: a\n50: b\n150: c"
    assert edited(text, timing, "move", index=1, frame=60) == text.replace("50: b", "60: b")
    with pytest.raises(PromptScheduleError, match="beyond the end"):
        edited("a [1s: b] [9s: c]", timing, "fade", index=1, kind="ease", frames=4.0)


WORDS = st.text("abc ,.'()|:[]#0-9%é", min_size=1, max_size=12)


@st.composite
def texts(draw) -> str:
    """A text in one of the ways of writing, with comments and several units."""
    starts = sorted(draw(st.sets(st.integers(1, 38), min_size=0, max_size=6)))
    frames = [0, *(6 * start for start in starts)]
    words = draw(st.lists(st.text("abc ,.é", min_size=1, max_size=8).map(lambda w: f"w{w}".strip(" ,")),
                          min_size=len(frames), max_size=len(frames)))  # fmt: skip
    form = draw(st.sampled_from(["lines", "brackets", "bars", "keys", "clocks", "scenes"]))
    if form == "bars":
        return " | ".join(words)
    if form == "keys":
        return ",\n".join(f'"{frame}": "{word}"' for frame, word in zip(frames, words, strict=True))
    if form == "brackets":
        return f"{words[0]} " + " ".join(f"[{f / 24}s: {w}]" for f, w in zip(frames[1:], words[1:], strict=True))
    if form == "scenes":
        return "\n".join(f"Scene {number}: {word}" for number, word in enumerate(words, 1))
    rows = []
    for frame, word in zip(frames, words, strict=True):
        unit = draw(st.sampled_from(["", "f", "s", "%", "-"])) if form == "lines" else ":"
        number = {"": frame, "f": frame, "s": frame / 24, "%": frame / 2.4, "-": frame - 240}.get(unit)
        time = f"{number:.4g}{unit if unit != '-' else ''}" if unit != ":" else f"0:{frame / 24:06.3f}"
        rows.append(f"{time}: {word}")
        if draw(st.booleans()):
            rows.append(draw(st.sampled_from(["# a note", "// 24: not a prompt", "", "   more words"])))
    return "\n".join(rows)


def said(text: str) -> list[tuple[float, str]]:
    return [(s.start, s.prompt) for s in parse_schedule(text, num_frames=240, fps=24.0).segments]


@settings(derandomize=True, deadline=None, max_examples=400)
@given(texts(), st.data())
def test_random_edits_change_what_they_say_and_nothing_else(text, data):
    """An oracle that knows frames and prompts only; the words that did not change stand as they stood."""
    for _ in range(data.draw(st.integers(1, 4))):
        before = said(text)
        change = data.draw(st.sampled_from(["move", "split", "remove", "retype"]))
        index = data.draw(st.integers(0, len(before) - 1))
        frame = data.draw(st.integers(1, 239))
        words = data.draw(WORDS)
        arguments = {
            "move": {"index": index, "frame": frame, "ripple": data.draw(st.booleans())},
            "split": {"frame": frame, "words": ""},
            "remove": {"index": index},
            "retype": {"index": index, "words": words},
        }[change]
        try:
            new = edited(text, TIMING, change, **arguments)
        except PromptScheduleError:
            assert change != "move" or index == 0
            continue
        after = said(new)
        prompts = [prompt for _, prompt in before]
        if change == "move":
            assert [prompt for _, prompt in after] == prompts
            moved = [b - a for (a, _), (b, _) in zip(before, after, strict=True)]
            assert all(abs(step) <= 0.5 for step in moved[:index])
            if arguments["ripple"]:
                assert max(moved[index:]) - min(moved[index:]) <= 1
            else:
                assert all(abs(step) <= 0.5 for step in moved[index + 1 :])
        elif change == "split":
            at = max(i for i, (start, _) in enumerate(before) if start < frame)
            assert [prompt for _, prompt in after] == [*prompts[: at + 1], prompts[at], *prompts[at + 1 :]]
            assert after[at + 1][0] == frame
        elif change == "remove":
            assert len(after) == len(before) - 1
        else:
            assert len(after) == len(before)
            assert words.strip() in after[index][1]
        comments = [line for line in text.split("\n") if line.startswith(("#", "//"))]
        assert [line for line in new.split("\n") if line in comments and line.startswith(("#", "//"))] == comments
        if change == "move" and re.match(r"0[s%f]?:|-240:|0:00", text):
            assert re.sub(r"[0-9.]+", "#", new) == re.sub(r"[0-9.]+", "#", text)
        text = new


def test_the_first_word_of_subtitles_alone_is_a_prompt():
    assert [segment["prompt"] for segment in view("WEBVTT", TIMING)["segments"]] == ["WEBVTT"]


def test_the_view_says_what_a_text_says():
    seen = view("wide shot\n0: a\n5s [ease 12]: b\n# note\n75%: c", TIMING)
    assert seen["error"] is None
    assert [(s["start"], s["end"], s["words"], s["prompt"], s["kind"], s["frames"], s["written"], s["line"])
            for s in seen["segments"]] == [
        (0, 120, "a", "wide shot, a", "hard", 0, False, 2),
        (120, 180, "b", "wide shot, b", "ease", 12, True, 3),
        (180, 240, "c", "wide shot, c", "linear", 8, False, 5),
    ]  # fmt: skip
    assert not any(segment["head"] for segment in seen["segments"])
    assert view("a man [1s: walks]", TIMING)["segments"][0]["head"]


def test_the_view_says_where_a_text_cannot_be_read():
    seen = view("0: a\n24 [slow]: b", TIMING)
    assert seen["segments"] == []
    assert (seen["error"]["line"], seen["error"]["column"], seen["error"]["common"]) == (2, 5, False)
    assert "'slow' is not a transition" in seen["error"]["message"]


def test_a_mistake_in_the_common_text_is_told_apart():
    seen = view("0: a", Timing(240, 24.0, common_text="x" * 6000))
    assert (seen["error"]["line"], seen["error"]["common"]) == (1, True)


def test_the_view_warns():
    seen = view("0: a man\n24: At 0s, he walks. At 3s, he sits.", TIMING)
    assert seen["error"] is None
    assert [(each["line"], each["common"]) for each in seen["warnings"]][:1] == [(2, False)]
    assert all(warning["line"] for warning in seen["warnings"])


def test_keys_are_seen_where_their_prompts_change():
    seen = view(KEYS, TIMING)
    assert [(s["start"], s["kind"], s["frames"]) for s in seen["segments"]] == [
        (0, "hard", 0), (12, "linear", 24), (62, "linear", 76)
    ]  # fmt: skip
