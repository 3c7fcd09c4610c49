"""What stands around ComfyUI's check of a node: once, only where that check is as it was, and without a circle."""

import asyncio

import execution
import pytest
from long_video_pack.nodes import before_run
from long_video_pack.nodes.before_run import Wrong

pytestmark = pytest.mark.every_host
PLAN = {"class_type": "WindowPlan", "inputs": {}}


@pytest.fixture
def host(monkeypatch):
    """Sets the host's check of a node, and takes it back after the test."""
    return lambda check: monkeypatch.setattr(execution, "validate_inputs", check)


def error(name, text):
    return {
        "type": "custom_validation_failed", "message": "failed", "details": f"{name} - {text}",
        "extra_info": {"input_name": name},
    }  # fmt: skip


def test_it_stands_there_once(host):
    async def own(prompt_id, prompt, item, validated, visiting=None):
        return (True, [], item)

    host(own)
    before_run.install({"WindowPlan"})
    once = execution.validate_inputs
    before_run.install({"WindowPlan"})
    assert execution.validate_inputs is once is not own
    assert asyncio.run(once("p", {"1": PLAN}, "1", {})) == (True, [], "1")


def test_a_check_of_other_things_is_left_alone(host):
    async def own(graph):
        return graph

    host(own)
    before_run.install({"WindowPlan"})
    assert execution.validate_inputs is own


def test_only_what_is_wrong_is_marked_and_other_errors_stay(host):
    missing = {"type": "required_input_missing", "extra_info": {"input_name": "model"}}

    async def own(prompt_id, prompt, item, validated):
        before_run.mark(Wrong({"overlap": "too long", "vae": "missing"}))
        return (False, [missing, error("chunk", "all"), error("overlap", "all")], item)

    host(own)
    before_run.install({"WindowPlan"})
    _, errors, _ = asyncio.run(execution.validate_inputs("p", {"1": PLAN}, item="1", validated={}))
    assert errors == [missing, error("overlap", "too long"), error("vae", "missing")]


def test_a_chain_of_other_nodes_is_handed_on_as_the_host_has_it(host):
    """The host's check calls itself for what is linked: with one more around each it would come half as far."""
    prompt = {"1": {"class_type": "LoadImage", "inputs": {}}, "2": PLAN}
    seen = []

    async def own(prompt_id, prompt, item, validated):
        seen.append((item, before_run.connected("image")))
        return (True, [], item)

    host(own)
    before_run.install({"WindowPlan"})
    for item in prompt:
        made = execution.validate_inputs("p", prompt, item, {})
        assert (made.cr_code is own.__code__) == (item == "1")
        assert asyncio.run(made) == (True, [], item)
    assert seen == [("1", None), ("2", False)]


def looked_up(host, prompt, node, name):
    """What a node is told of an input while the host checks it."""
    seen = []

    async def own(prompt_id, prompt, item, validated):
        seen.extend([before_run.possible_values(name), before_run.connected(name)])
        return (True, [], item)

    host(own)
    before_run.install({"WindowPlan"})
    asyncio.run(execution.validate_inputs("p", prompt, node, {}))
    return seen


def primitive(value):
    return {"class_type": "PrimitiveInt", "inputs": {"value": value}}


@pytest.mark.parametrize(
    ("others", "value", "values"),
    [
        ({}, 7, [7]),
        ({"2": primitive(5)}, ["2", 0], [5]),
        ({"2": primitive(["3", 0]), "3": primitive(9)}, ["2", 0], [9]),
        ({"2": primitive(["3", 0]), "3": primitive(["2", 0])}, ["2", 0], []),  # a circle
        ({"2": {"class_type": "LoadLongVideo", "inputs": {}}}, ["2", 1], []),  # known when it runs
        ({}, ["2", 0], []),
    ],
)
def test_links_are_followed_as_far_as_the_prompt_says_their_value(host, others, value, values):
    prompt = {"1": {"class_type": "WindowPlan", "inputs": {"length": value}}, **others}
    assert looked_up(host, prompt, "1", "length") == [values, isinstance(value, list)]


def test_the_length_of_a_long_latent_is_one_of_those_that_vaes_make(host):
    latent = {"class_type": "LongLatent", "inputs": {"length": 2.0, "unit": "seconds", "fps": 16.0, "vae": ["9", 2]}}
    prompt = {"1": {**PLAN, "inputs": {"length": ["2", 1], "fps": ["2", 2]}}, "2": latent}
    lengths, _ = looked_up(host, prompt, "1", "length")
    assert lengths[0] == 32 and {32, 33, 39} <= set(lengths) and max(lengths) == 39  # images, Wan, MiniMax H3
    assert looked_up(host, prompt, "1", "fps")[0] == [16.0]


def test_nothing_is_known_of_a_long_latent_that_cannot_be(host):
    latent = {"class_type": "LongLatent", "inputs": {"unit": "frames"}}
    prompt = {"1": {**PLAN, "inputs": {"length": ["2", 1], "fps": ["2", 2]}}, "2": latent}
    assert [looked_up(host, prompt, "1", name)[0] for name in ("length", "fps")] == [[], []]
    latent["inputs"] |= {"length": float("inf"), "fps": 16.0}
    assert looked_up(host, prompt, "1", "length")[0] == []


def test_outside_of_a_check_nothing_is_known():
    assert before_run.possible_values("length") == [] and before_run.connected("length") is None
    assert not before_run.lacks("length")
