"""What a window gets of every condition: sliced, shared, of the first frame alone, or refused; without a model."""

import uuid
from types import SimpleNamespace

import comfy.conds
import pytest
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.batching import batch_key, collate, mix_entries
from long_video_pack.glv_core.hosts.comfy.co_denoise.conditioning import Conditions
from long_video_pack.glv_core.hosts.comfy.co_denoise.handler import CoDenoiseHandler
from long_video_pack.glv_core.hosts.comfy.co_denoise.options import WindowOptions
from long_video_pack.glv_core.hosts.comfy.co_denoise.prompt_tags import TAG
from long_video_pack.glv_core.hosts.comfy.families import FAMILIES
from long_video_pack.glv_core.hosts.comfy.families.image import IMAGE
from long_video_pack.glv_core.windows import Window

pytestmark = pytest.mark.every_host
LENGTH = 9
FIRST, LATER, ACROSS = Window(0, 4), Window(3, 4), Window(7, 4, 1, LENGTH)
BY_NAME = {family.name: family for family in FAMILIES}


def along(axis: int, ndim: int = 5) -> torch.Tensor:
    """A tensor whose values are its places along an axis of the video's length; the other axes have 1 or 2."""
    shape = [1, 2, *[1] * (ndim - 2)]
    shape[axis] = LENGTH
    view = [1] * ndim
    view[axis] = LENGTH
    return torch.arange(float(LENGTH)).view(view).expand(shape).clone()


def entry(**conds) -> dict:
    made = {}
    for key, value in conds.items():
        made[key] = value if hasattr(value, "cond") else comfy.conds.CONDRegular(value)
    return {"model_conds": made, "uuid": uuid.UUID(int=5)}


def sliced(family, window, given, time_dim=2, weights=None):
    return Conditions(family, LENGTH, time_dim).slice(given, window, weights)


EVERY_KEY = [
    *[(family, key, "sliced", axis) for family in FAMILIES for key, axis in family.time_axes.items()],
    *[(family, key, "shared", 2) for family in FAMILIES for key in sorted(family.shared)],
    *[(family, key, "first", 2) for family in FAMILIES for key in sorted(family.first_frame)],
    *[(family, key, "refused", 2) for family in FAMILIES for key in family.refused],
]


@pytest.mark.parametrize(("family", "key", "how", "axis"), EVERY_KEY, ids=lambda value: getattr(value, "name", value))
def test_every_key_of_every_family(family, key, how, axis):
    value = along(axis)[:, :, :1] if how == "first" else along(axis)
    if key == "latent_shapes":
        value = comfy.conds.CONDConstant([[1, 128, 9, 4, 4], [1, 8, 40, 16]])
    given = entry(**{key: value})
    conditions = Conditions(family, LENGTH, 2)
    if how == "refused":
        with pytest.raises(ValueError, match=r"does not support .* yet: every window would see the wrong part"):
            conditions.check(given)
        return
    conditions.check(given)
    for window in (FIRST, LATER, ACROSS):
        conds = conditions.slice(given, window, None)["model_conds"]
        if how == "first" and window is not FIRST:
            assert key not in conds
        elif how == "sliced":
            assert conds[key].cond.movedim(axis, 0).flatten(1)[:, 0].tolist() == list(window.indices)
        else:
            assert torch.equal(conds[key].cond, given["model_conds"][key].cond)


def test_the_tables_have_what_is_known_of_the_models():
    """What the first windows of a wrong slice would show; a key that leaves its table fails here."""
    table = {(family.name, key): how for family, key, how, _ in EVERY_KEY}
    for name in ("Wan", "Wan 2.2 5B"):
        assert table[name, "vace_context"] == "sliced"
        assert table[name, "reference_latent"] == table[name, "time_dim_concat"] == "shared"
        for key in ("audio_embed", "control_video", "reference_motion", "face_pixel_values", "pose_latents"):
            assert table[name, key] == "refused"
    assert table["Hunyuan", "ref_latent"] == "shared" and table["Hunyuan", "guiding_frame_index"] == "first"
    assert table["Kandinsky 5", "time_dim_replace"] == "first"
    assert table["LTX", "keyframe_idxs"] == table["LTX-2", "latent_shapes"] == "refused"
    assert "num_video_frames" in BY_NAME["SVD"].counts and "ref_latents" in IMAGE.shared


def test_what_no_table_names_goes_by_its_shape():
    wan = BY_NAME["Wan"]
    noise_shaped = comfy.conds.CONDNoiseShape

    def kept(value, key="c_concat"):
        return sliced(wan, LATER, entry(**{key: value}))["model_conds"][key].cond

    assert kept(noise_shaped(along(2)))[0, 0].flatten().tolist() == [3, 4, 5, 6]
    assert kept(noise_shaped(along(2)[:, :, :1])).shape[2] == 1  # the same for all frames
    assert kept(along(2), "new").shape[2] == 4
    assert kept(along(1, 3), "text").shape[1] == LENGTH
    with pytest.raises(ValueError, match="'c_concat' is 5 latent frames long, the latent 9"):
        sliced(wan, LATER, entry(c_concat=comfy.conds.CONDNoiseShape(along(2)[:, :, :5])))


def test_frames_as_batch_are_sliced_in_the_batch():
    given = entry(c_concat=along(0, 4), text=torch.zeros(1, 7, 3), ref_latents=along(0, 4))
    conds = sliced(IMAGE, LATER, given, time_dim=0)["model_conds"]
    assert conds["c_concat"].cond[:, 0].flatten().tolist() == [3, 4, 5, 6]
    assert conds["text"].cond.shape[0] == 1 and conds["ref_latents"].cond.shape[0] == LENGTH


def test_the_number_of_frames_is_that_of_the_window():
    given = entry(num_video_frames=comfy.conds.CONDConstant(LENGTH))
    assert sliced(BY_NAME["SVD"], LATER, given, time_dim=0)["model_conds"]["num_video_frames"].cond == 4


def test_a_nested_latent_of_one_stream_is_not_refused():
    conditions = Conditions(BY_NAME["LTX-2"], LENGTH, 2)
    conditions.check(entry(latent_shapes=comfy.conds.CONDConstant([[1, 128, 9, 4, 4]])))
    with pytest.raises(ValueError, match="combined video and audio latents"):
        conditions.check(entry(latent_shapes=comfy.conds.CONDConstant([[1], [2]])))


def test_nested_latents_are_refused_before_the_first_forward_pass():
    model = SimpleNamespace(latent_format=SimpleNamespace(latent_dimensions=3))
    with pytest.raises(ValueError, match="combined video and audio latents"):
        CoDenoiseHandler(WindowOptions(17, 8)).begin(model, {}, [1, 1, 4096])


def test_a_hint_with_several_images_is_refused_along_the_whole_chain():
    many = SimpleNamespace(cond_hint_original=torch.zeros(9, 3, 8, 8), previous_controlnet=None)
    one = SimpleNamespace(cond_hint_original=torch.zeros(1, 3, 8, 8), previous_controlnet=None)
    conditions = Conditions(BY_NAME["Wan"], LENGTH, 2)
    conditions.check({**entry(), "control": one})
    one.previous_controlnet = many
    with pytest.raises(ValueError, match="a hint of 9 images"):
        conditions.check({**entry(), "control": one})


def test_masks_and_weights():
    mask = torch.arange(9.0).view(1, 9, 1, 1)
    assert sliced(BY_NAME["Wan"], LATER, {**entry(), "mask": mask})["mask"].flatten().tolist() == [3, 4, 5, 6]
    weights = torch.tensor([0.5, 1, 1, 0])
    both = sliced(BY_NAME["Wan"], LATER, {**entry(), "mask": mask}, weights=weights)
    assert both["mask"].flatten().tolist() == [1.5, 4, 5, 0]
    assert sliced(BY_NAME["Wan"], LATER, entry(), weights=weights)["mask"].flatten().tolist() == [0.5, 1, 1, 0]
    assert sliced(IMAGE, LATER, entry(), time_dim=0, weights=weights)["mask"].shape == (4, 1, 1)


def test_an_area_in_time_is_moved_into_the_window():
    """``(t, h, w, t0, y0, x0)``: latent frames 4 and 5."""
    given = {**entry(), "area": (2, 4, 4, 4, 0, 0)}
    assert sliced(BY_NAME["Wan"], LATER, given)["area"] == (2, 4, 4, 1, 0, 0)
    assert sliced(BY_NAME["Wan"], Window(5, 4), given)["area"] == (1, 4, 4, 0, 0, 0)
    assert sliced(BY_NAME["Wan"], FIRST, given) is None
    whole = {**entry(), "area": (9, 4, 4, 0, 0, 0)}
    assert sliced(BY_NAME["Wan"], ACROSS, whole)["area"][0] == 4


def test_an_area_that_a_loop_sees_twice_is_masked_between():
    given = {**entry(), "area": (7, 4, 4, 1, 0, 0)}  # all but the latent frames 0 and 8
    part = sliced(BY_NAME["Wan"], ACROSS, given)  # 7, 8, 0, 1
    assert part["area"][:1] == (4,) and part["mask"].flatten().tolist() == [1, 0, 0, 1]


def test_each_window_has_a_name_of_its_own_and_no_tag():
    given = {**entry(), TAG: "tag"}
    names = [sliced(BY_NAME["Wan"], window, given)["uuid"] for window in (FIRST, LATER, Window(3, 4, 2), FIRST)]
    assert len(set(names)) == 3 and names[0] == names[3] and given["uuid"] not in names
    assert TAG not in sliced(BY_NAME["Wan"], FIRST, given)


@pytest.mark.parametrize(
    "changed",
    [
        {"strength": 0.5},
        {"mask_strength": 0.5},
        {"timestep_start": 0.5},
        {"timestep_end": 0.5},
        {"area": (2, 4, 4, 1, 0, 0)},
        {"mask": torch.ones(1, 9, 1, 1)},
        {"hooks": object()},
        {"gligen": object()},
        {"control": object()},
        {"default": True},
        {"model_conds": {"c": comfy.conds.CONDRegular(torch.zeros(1, 3, 8))}},
        {"model_conds": {"c": comfy.conds.CONDRegular(torch.zeros(1, 2, 8, dtype=torch.float16))}},
        {"model_conds": {"c": comfy.conds.CONDCrossAttn(torch.zeros(1, 2, 8))}},
        {"model_conds": {"c": comfy.conds.CONDConstant(3)}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_windows_share_a_forward_only_where_all_is_alike(changed):
    plain = {**entry(c=torch.zeros(1, 2, 8)), "strength": 1.0}
    assert batch_key(plain, 0) == batch_key({**plain, "uuid": uuid.uuid4()}, 1)
    assert batch_key(plain, 0) != batch_key({**plain, **changed}, 1)


def test_constants_are_compared_by_value_and_lists_by_identity():
    one, other = ({**entry(n=comfy.conds.CONDConstant(value))} for value in (3, 3))
    assert batch_key(one, 0) == batch_key(other, 1)
    lists = [entry(refs=comfy.conds.CONDList([torch.zeros(1)])) for _ in range(2)]
    assert batch_key(lists[0], 0) != batch_key(lists[1], 1) and batch_key(lists[0], 0) == batch_key(lists[0], 1)


def test_collated_windows_keep_their_rows():
    shared = torch.randn(1, 2, 8)
    parts = [entry(text=shared, c_concat=torch.full((1, 1, 4, 2, 2), value)) for value in (1.0, 2.0)]
    for part, name in zip(parts, (6, 7)):
        part["uuid"] = uuid.UUID(int=name)
        part["mask"] = torch.full((1, 4, 1, 1), float(name))
    both = collate(parts, 2, [4, 2, 2], torch.device("cpu"))
    assert both["model_conds"]["c_concat"].cond[:, 0, 0, 0, 0].tolist() == [1, 1, 2, 2]
    assert torch.equal(both["model_conds"]["text"].cond, shared.expand(4, -1, -1))
    assert both["mask"].shape == (4, 4, 2, 2) and both["mask"][:, 0, 0, 0].tolist() == [6, 6, 7, 7]
    assert both["uuid"] not in {part["uuid"] for part in parts}
    assert collate(parts[:1], 2, [4, 2, 2], torch.device("cpu"))["uuid"] == parts[0]["uuid"]


def test_mixed_entries():
    """Embeddings are mixed, masks of tokens joined, counts of tokens the largest; the strongest gives the rest."""
    one = entry(c=torch.zeros(1, 2, 4), seen=torch.tensor([[1, 0]]), num_tokens=comfy.conds.CONDConstant(2))
    other = entry(c=torch.ones(1, 3, 4), seen=torch.tensor([[0, 1, 1]]), num_tokens=comfy.conds.CONDConstant(3))
    one["strength"], other["strength"] = 1.0, 0.5
    mixed = mix_entries([one, other], torch.tensor([0.25, 0.75]), False)
    assert mixed["model_conds"]["c"].cond[0, :, 0].tolist() == [0.75] * 3
    assert mixed["model_conds"]["seen"].cond.tolist() == [[1, 1, 1]]
    assert mixed["model_conds"]["num_tokens"].cond == 3 and mixed["strength"] == 0.5
    assert mixed["uuid"] not in (one["uuid"], other["uuid"])
