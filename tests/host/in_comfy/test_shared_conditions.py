"""A condition of the whole video is held once, however many prompts come with it."""

import comfy.conds
import comfy.patcher_extension
import pytest
import tiny
import torch
from families import embedding, wan_vace
from long_video_pack.glv_core.hosts.comfy.co_denoise.shared_conditions import Mover, SharedConditions, shared_conditions

pytestmark = pytest.mark.every_host


class Model:
    """Makes the condition that it is given anew, as the host's models do."""

    def extra_conds(self, **given):
        return {key: comfy.conds.CONDRegular(value.clone()) for key, value in given.items()}


def of(made: dict, key: str = "context") -> torch.Tensor:
    return made[key].cond


def test_equal_conditions_are_one_and_others_stay():
    make = SharedConditions(Model().extra_conds, 8)
    first = make(context=torch.ones(8), text=torch.ones(7))
    again = make(context=torch.ones(8), text=torch.ones(7), other=torch.ones(8))
    assert of(again) is of(first)
    assert of(again, "text") is not of(first, "text") and of(again, "other") is not of(first)
    for different in (torch.zeros(8), torch.ones(9), torch.ones(8, dtype=torch.float64), torch.ones(2, 4)):
        assert of(make(context=different)).shape == different.shape
        assert torch.equal(of(make(context=different)), different)
    numbers = SharedConditions(lambda **_: {"strength": comfy.conds.CONDConstant([1.0])}, 0)
    assert numbers()["strength"].cond == [1.0]


def test_what_nobody_uses_any_more_is_not_held():
    made = []

    def make(**_):
        made.append(torch.ones(8))
        return {"context": comfy.conds.CONDRegular(made[-1])}

    share = SharedConditions(make, 1)
    share()
    made.clear()
    kept = share()
    assert of(kept) is made[0] and of(share()) is made[0]


def test_the_model_is_left_as_it_was():
    model = Model()
    with pytest.raises(KeyError), shared_conditions(model, 1):
        assert of(model.extra_conds(context=torch.ones(2))) is of(model.extra_conds(context=torch.ones(2)))
        raise KeyError
    assert "extra_conds" not in vars(model)
    model.extra_conds = somebody = SharedConditions(model.extra_conds, 1)
    with shared_conditions(model, 1):
        assert model.extra_conds is not somebody
    assert model.extra_conds is somebody
    with shared_conditions(model, 1):
        model.extra_conds = other = SharedConditions(somebody, 2)
    assert model.extra_conds is other


@pytest.mark.parametrize("offload", [False, True])
def test_prompts_share_their_control_video(monkeypatch, offload):
    """Three prompts and a negative one: one context; and another control video is another."""
    model, latent, (positive, negative) = wan_vace()
    entries = [positive[0], *(embedding(seed, 16, 4096, **positive[0][1])[0] for seed in (2, 3))]
    changed = {**positive[0][1], "vace_frames": [positive[0][1]["vace_frames"][0] + 1]}
    seen = {}
    model = model.clone()

    def look(executor, guider, *given):
        result = executor(guider, *given)
        seen.update({name: [e["model_conds"]["vace_context"].cond for e in c] for name, c in guider.conds.items()})
        return result

    # Added first, so it is outside of what offloads.
    key = comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE
    model.add_wrapper_with_key(key, "look", look)
    if offload:
        # On a machine without a graphics card nothing moves; that it would stay one is what can be seen.
        monkeypatch.setattr(torch.Tensor, "cpu", lambda self: self.clone())
    arguments = {"latent_image": latent, "steps": 1, "offload_latent": offload}
    tiny.co_denoise(model, positive=[*entries, embedding(4, 16, 4096, **changed)[0]], negative=negative, **arguments)
    contexts = seen["positive"]
    assert len(contexts) == 4 and len({id(each) for each in contexts[:3]}) == 1
    assert seen["negative"][0] is contexts[0] and contexts[3] is not contexts[0]
    assert not torch.equal(contexts[3], contexts[0])
    assert "extra_conds" not in vars(model.model)


def test_a_tensor_moves_once(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: self.clone())
    move, tensor = Mover(), torch.ones(2)
    moved = move(tensor)
    assert moved is not tensor and torch.equal(moved, tensor)
    assert move(tensor) is moved and move(tensor.clone()) is not moved
