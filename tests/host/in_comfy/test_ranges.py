"""Numbers outside of an input's range, or none, are refused by every node before anything else."""

import asyncio
import inspect

import numpy as np
import pytest
from comfy_api.latest import io
from long_video_pack.nodes import NODES, CoDenoisePhase, LoadLongVideo, LongVideoExtension

pytestmark = pytest.mark.every_host


def name_of(value):
    return getattr(value, "id", getattr(value, "__name__", ""))


def numbers_in(inputs, around=()):
    """Every number of these inputs, those of a choice too, with the choices that it is in: an input and its option."""
    for each in inputs:
        if isinstance(each, (io.Int.Input, io.Float.Input)):
            yield each, around
        elif isinstance(each, io.DynamicCombo.Input):
            for option in each.options:
                yield from numbers_in(option.inputs, (*around, (each.id, option.key)))


NUMBERS = [(node, each, around) for node in NODES for each, around in numbers_in(node.define_schema().inputs)]


def given_as(around, name, value):
    """What a node is given where an input has this value."""
    values = {name: value}
    for choice, key in reversed(around):
        values = {choice: {choice: key, **values}}
    return values


def test_the_pack_s_nodes_are_those_that_are_checked():
    listed = asyncio.run(LongVideoExtension().get_node_list())
    assert listed == NODES and len(NUMBERS) > 120 and any(around for _, _, around in NUMBERS)


@pytest.mark.parametrize(
    ("node", "given", "around"), NUMBERS, ids=lambda each: getattr(each, "id", getattr(each, "__name__", "in"))
)
def test_every_number_is_held_to_its_range(node, given, around):
    """Linked values too, which ComfyUI checks nowhere: nothing else of the node is given, and nothing of it runs."""
    assert given.min is not None and given.max is not None, "without a range"
    bad = [given.min - 1, given.max + 1, 2**80 if given.max < 2**80 else 2**100]
    if isinstance(given, io.Float.Input):
        bad += [float("nan"), float("inf"), -float("inf")]
    for value in bad:
        with pytest.raises(ValueError) as error:
            node.execute(**given_as(around, given.id, value))
        message = str(error.value)
        assert message.startswith(f"{node.define_schema().node_id}: {given.id} is {value}; it must be {given.min} to ")


@pytest.mark.parametrize(
    "node", [node for node in NODES if "validate_inputs" in node.__dict__], ids=lambda n: n.__name__
)
def test_what_a_node_validates_itself_is_held_to_its_range(node):
    """ComfyUI leaves the range of every input that ``validate_inputs`` names to it, and finds their names itself."""
    names = inspect.getfullargspec(node.validate_inputs).args[1:]
    assert names
    known = {each.id: each for each in node.define_schema().inputs}
    assert set(names) <= set(known)
    for name in names:
        given = known[name]
        others = {each: known[each].default for each in names if each != name}
        if isinstance(given, (io.Int.Input, io.Float.Input)):
            for value in (2**80, given.min - 1):
                said = node.validate_inputs(**others, **{name: value})
                assert said.inputs == {name: said} and said.startswith(f"{name} is {value}; it must be {given.min} to ")
        elif isinstance(given, io.Combo.Input) and not given.upload:
            said = node.validate_inputs(**others, **{name: "zigzag"})
            assert list(said.inputs) == [name] and "'zigzag'" in said and name in said


@pytest.mark.parametrize(
    "node", [node for node in NODES if "validate_inputs" in node.__dict__], ids=lambda n: n.__name__
)
def test_what_is_linked_waits_for_the_run(node):
    """ComfyUI gives None for it; what an API prompt leaves out it does not give at all."""
    names = inspect.getfullargspec(node.validate_inputs).args[1:]
    assert node.validate_inputs(**dict.fromkeys(names)) is True and node.validate_inputs() is True


def test_a_file_that_is_linked_is_opened_in_every_run():
    first, second = (LoadLongVideo.fingerprint_inputs(file=None, start=0.0) for _ in range(2))
    assert first != second


def test_numbers_of_other_packs_become_python_s():
    from long_video_pack.nodes.ranges import _plain

    for node, given, around in NUMBERS:
        kind, brought = (int, (np.int64, float)) if isinstance(given, io.Int.Input) else (float, (np.float32,))
        for number in brought:
            plain = _plain(node.define_schema().inputs, given_as(around, given.id, number(given.min)))
            for choice, _ in around:
                plain = plain[choice]
            assert type(plain[given.id]) is kind and plain[given.id] == number(given.min)


def test_a_node_gets_whole_numbers_or_says_so():
    others = {"start": np.float32(0.5), "schedule": "unchanged", "stride": 2.0, "merge": "unchanged"}
    [phase] = CoDenoisePhase.execute(**others, overlap=np.int64(4)).args[0]
    assert [(type(each), each) for each in (phase.start, phase.overlap_frames, phase.stride)] == [
        (float, 0.5), (int, 4), (int, 2),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"CoDenoisePhase: overlap is 4\.5; it must be a whole number"):
        CoDenoisePhase.execute(**others, overlap=4.5)


def test_the_ends_of_a_range_are_in_it():
    from long_video_pack.nodes.ranges import _wrong

    for node, given, around in NUMBERS:
        schema = node.define_schema()
        for value in (given.min, given.max):
            assert _wrong(schema, given_as(around, given.id, value)) is None
