"""What a window gets of every condition: sliced, shared, of the first frame alone, or refused; without a model."""

import itertools
import uuid
from types import SimpleNamespace

import comfy.conds
import pytest
import torch
from long_video_pack.glv_core.hosts.comfy.co_denoise.batching import batch_key, collate, mix_entries
from long_video_pack.glv_core.hosts.comfy.co_denoise.conditioning import Conditions, begins_with_an_image, host_slices
from long_video_pack.glv_core.hosts.comfy.co_denoise.handler import CoDenoiseHandler
from long_video_pack.glv_core.hosts.comfy.co_denoise.options import WindowOptions
from long_video_pack.glv_core.hosts.comfy.co_denoise.packed import PackedLatent
from long_video_pack.glv_core.hosts.comfy.co_denoise.prompt_tags import TAG
from long_video_pack.glv_core.hosts.comfy.co_denoise.run import Run
from long_video_pack.glv_core.hosts.comfy.families import FAMILIES, SHARED, Along
from long_video_pack.glv_core.hosts.comfy.families.image import IMAGE
from long_video_pack.glv_core.windows import View, Window

pytestmark = pytest.mark.every_host
LENGTH = 9
FIRST, LATER, ACROSS = Window(0, 4), Window(3, 4), Window(7, 4, 1, LENGTH)
BY_NAME: dict = {}
for family in FAMILIES:
    BY_NAME.setdefault(family.name, family)
WAN = BY_NAME["Wan"]
BY_CLASS = {kind: family for family in FAMILIES for kind in family.classes}


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


def indices_in(tensor: torch.Tensor, axis: int) -> list[float]:
    """The places that a part of ``along`` holds."""
    return tensor.movedim(axis, 0).flatten(1)[:, 0].tolist()


def named(family) -> str:
    return "/".join([family.name, *family.classes[:1]])


VIDEO = [family for family in FAMILIES if family.compression.ratio > 1]  # of the others the frames are the batch
EVERY_KEY = [
    *[(family, key, "sliced") for family in VIDEO for key in family.along],
    *[(family, key, "shared") for family in VIDEO for key in sorted(family.shared | SHARED)],
    *[(family, key, "first") for family in VIDEO for key in sorted(family.first_frame)],
    *[(family, key, "start") for family in VIDEO for key in sorted(family.start_frames)],
    *[(family, key, "refused") for family in VIDEO for key in family.refused],
]


@pytest.mark.parametrize(
    ("family", "key", "how"), EVERY_KEY, ids=[f"{named(family)}-{key}-{how}" for family, key, how in EVERY_KEY]
)
def test_every_key_of_every_family(family, key, how):
    conditions = Conditions(family, LENGTH, 2)
    rule = family.along.get(key, Along())
    per_frame = rule.scale or 5
    value = along(rule.axis, max(4, rule.axis + 1)).repeat_interleave(per_frame, rule.axis)
    if how in ("refused", "start"):
        value = along(2)[:, :, : 6 if how == "start" else LENGTH - 1]
    if key == "latent_shapes":
        value = comfy.conds.CONDConstant([[1, 128, 9, 4, 4], [1, 8, 40, 16]])
    given = entry(**{key: value})
    if how == "refused":
        with pytest.raises(ValueError, match=r"does not support .* yet: every window would see the wrong part"):
            conditions.check(given, View(FIRST))
        if key != "latent_shapes":  # a part for every latent frame is no riddle
            whole = conditions.slice(entry(**{key: along(2)}), LATER, None)["model_conds"][key].cond
            assert indices_in(whole, 2) == list(LATER.indices)
        return
    for window in (FIRST, LATER, ACROSS):
        for view in (View(window), View(window, 1)):
            conditions.check(given, view)
            conds = conditions.slice(given, view, None)["model_conds"]
            if how == "sliced":
                wanted = [float(index) for index in view.indices for _ in range(per_frame)]
                assert indices_in(conds[key].cond, rule.axis) == wanted
            elif how == "start":
                # Known are the latent frames 0 to 5; a window gets those with which it begins.
                held = list(itertools.takewhile(lambda index: index < 6, view.indices))
                assert (indices_in(conds[key].cond, 2) if held else key not in conds) == (held or True)
            elif how == "first" and view.indices[0] != 0:
                assert key not in conds
            else:
                assert conds[key] is given["model_conds"][key]


def test_the_tables_have_what_is_known_of_the_models():
    """What the first windows of a wrong slice would show; a key that leaves its table fails here."""
    table = {(named(family), key): how for family, key, how in EVERY_KEY}
    for name in ("Wan", "Wan 2.2 5B", "Wan/WAN21_Vace"):
        assert table[name, "vace_context"] == "sliced"
        assert table[name, "reference_latent"] == table[name, "time_dim_concat"] == "shared"
        for key in ("audio_embed", "face_pixel_values", "pose_latents", "sam_latents", "ref_mask_latents"):
            assert table[name, key] == "refused"
    speech, dance = BY_CLASS["WAN22_S2V"], BY_CLASS["WAN22_WanDancer"]
    assert speech.along["audio_embed"] == Along(3, 4) and speech.along["control_video"] == Along(2, 1)
    assert dance.along["audio_embed"] == Along(1, 0) and "reference_motion" in speech.first_frame
    assert not speech.refused and not dance.refused
    assert BY_CLASS["WAN21_Vace"].references == BY_CLASS["WAN22_Animate"].references == 1 and WAN.references == 0
    assert table["Hunyuan", "ref_latent"] == "shared" and table["Hunyuan", "guiding_frame_index"] == "first"
    assert BY_NAME["Hunyuan"].unbatched == {"ref_latent"}
    assert table["Kandinsky 5/Kandinsky5", "time_dim_replace"] == "start"
    assert table["LTX", "generated_keyframes"] == table["LTX-2", "generated_keyframes"] == "refused"
    for name in ("LTX", "LTX-2"):
        assert {"keyframe_idxs", "guide_attention_entries"} <= BY_NAME[name].by_window.keys()
    assert "minimax_payload" in BY_NAME["MiniMax H3"].by_window
    assert "num_video_frames" in BY_NAME["SVD"].counts and "ref_latents" in IMAGE.shared


def test_music_of_any_length_lasts_as_long_as_the_video():
    """23 features over 9 latent frames: each gets those between its own start and the next one's."""
    music = torch.arange(23.0).view(1, 23, 1).expand(1, 23, 35).clone()
    family = BY_CLASS["WAN22_WanDancer"]

    def heard(window):
        return indices_in(sliced(family, window, entry(audio_embed=music))["model_conds"]["audio_embed"].cond, 1)

    assert heard(Window(0, 4)) == list(range(10)) and heard(Window(4, 5)) == list(range(10, 23))
    short = entry(audio_embed=music[:, :4])
    assert indices_in(sliced(family, Window(0, 9), short)["model_conds"]["audio_embed"].cond, 1) == [
        0, 0, 0, 1, 1, 2, 2, 3, 3,
    ]  # fmt: skip


def test_sound_that_is_too_short_for_the_video_is_refused():
    short = entry(audio_embed=torch.zeros(1, 25, 1024, 4 * LENGTH - 1))
    with pytest.raises(ValueError, match="'audio_embed' has 35 parts, and a latent of 9 latent frames needs 36"):
        sliced(BY_CLASS["WAN22_S2V"], FIRST, short)


def test_the_host_is_asked_before_something_is_refused():
    asked = []

    def ask(key, cond, view):
        asked.append((key, list(view.indices)))
        return cond._copy_with(cond.cond[:, :1]) if key == "pose_latents" else None

    conditions = Conditions(WAN, LENGTH, 2, ask)
    given = entry(pose_latents=along(2), vace_context=along(3), new=along(2))
    conds = conditions.slice(given, View(LATER, 1), None)["model_conds"]
    assert conds["pose_latents"].cond.shape[1] == 1 and indices_in(conds["vace_context"].cond, 3) == [0, 3, 4, 5, 6]
    assert asked == [("pose_latents", [0, 3, 4, 5, 6]), ("new", [0, 3, 4, 5, 6])]  # the family's own come first
    with pytest.raises(ValueError, match="does not support sound"):
        conditions.check(entry(audio_embed=along(1, 4)), View(FIRST))


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(1, 7, 3),  # might be sound
        torch.zeros(1, 3, 7, 2),
        torch.zeros(1, LENGTH),  # a number for every latent frame
        torch.zeros(1, 33),  # or for every frame
        comfy.conds.CONDConstant({"any": "thing"}),
        comfy.conds.CONDConstant([torch.zeros(1), 3]),
        comfy.conds.CONDConstant(object()),
    ],
    ids=["3d", "4d", "latent frames", "frames", "dict", "list", "object"],
)
def test_what_nobody_knows_is_refused_by_its_name(value):
    with pytest.raises(ValueError, match=r"whether the conditioning 'unheard' runs along the video.*raise 'window'"):
        Conditions(WAN, LENGTH, 2).check(entry(unheard=value), View(FIRST))


def test_numbers_and_single_images_are_shared():
    for value in (comfy.conds.CONDConstant(3), comfy.conds.CONDConstant(None), torch.zeros(1, 7), torch.zeros(2)):
        given = entry(unheard=value)
        assert sliced(WAN, LATER, given)["model_conds"]["unheard"] is given["model_conds"]["unheard"]


def test_of_a_list_those_as_long_as_the_video_are_sliced():
    """Bernini's source video and reference images."""
    items = [along(2), torch.full((1, 2, 1, 3, 3), 5.0)]
    source, image = sliced(WAN, LATER, entry(context_latents=comfy.conds.CONDList(items)))["model_conds"][
        "context_latents"
    ].cond
    assert indices_in(source, 2) == [3, 4, 5, 6] and image is items[1]
    with pytest.raises(ValueError, match="'context_latents' is 5 latent frames long, the latent 9"):
        sliced(WAN, LATER, entry(context_latents=comfy.conds.CONDList([along(2)[:, :, :5]])))


@pytest.mark.parametrize(
    ("extras", "begins"),
    [
        ({}, False),
        ({"concat_mask": torch.ones(1, 1, 9, 2, 2)}, False),
        ({"concat_mask": torch.zeros(1, 1, 9, 2, 2)}, False),  # all is known: a video to copy
        ({"concat_mask": (along(2) > 0).float()}, True),
        ({"concat_mask": (along(2) > 2).float()}, True),
        ({"concat_mask": (along(2) != 4).float()}, False),  # an image in the middle
        ({"vace_mask": [torch.ones(1, 64, 9, 2, 2), (along(2) > 0).float()]}, True),
        ({"vace_mask": [torch.ones(1, 64, 9, 2, 2)]}, False),
        ({"concat_mask": torch.zeros(1, 4, 8, 8)}, False),  # of a model whose frames are the batch
    ],
)
def test_whether_a_conditioning_begins_with_an_image(extras, begins):
    assert begins_with_an_image({**entry(), **extras}) is begins


def test_what_no_table_names_goes_by_its_shape():
    wan = BY_NAME["Wan"]
    noise_shaped = comfy.conds.CONDNoiseShape

    def kept(value, key="c_concat"):
        return sliced(wan, LATER, entry(**{key: value}))["model_conds"][key].cond

    assert kept(noise_shaped(along(2)))[0, 0].flatten().tolist() == [3, 4, 5, 6]
    assert kept(noise_shaped(along(2)[:, :, :1])).shape[2] == 1  # the same for all frames
    assert kept(along(2), "new").shape[2] == 4
    assert kept(along(1, 3), "c_crossattn").shape[1] == LENGTH  # text of as many words
    with pytest.raises(ValueError, match="'c_concat' is 5 latent frames long, the latent 9"):
        sliced(wan, LATER, entry(c_concat=comfy.conds.CONDNoiseShape(along(2)[:, :, :5])))


def test_frames_as_batch_are_sliced_in_the_batch():
    given = entry(c_concat=along(0, 4), text=torch.zeros(1, 7, 3), ref_latents=along(0, 4), few=along(0, 4)[:6])
    conds = sliced(IMAGE, LATER, given, time_dim=0)["model_conds"]
    assert conds["c_concat"].cond[:, 0].flatten().tolist() == [3, 4, 5, 6]
    # The host repeats fewer rows over the video: 0 1 2 3 4 5 0 1 2.
    assert [conds["few"].cond[row, 0].item() for row in range(4)] == [3, 4, 5, 0]
    assert conds["text"].cond.shape[0] == 1 and conds["ref_latents"].cond.shape[0] == LENGTH


def test_lists_of_what_all_frames_share_are_shared_and_of_others_refused():
    shared = comfy.conds.CONDList([torch.zeros(1, 4, 8, 8), torch.tensor(3.0)])
    assert sliced(IMAGE, LATER, entry(pictures=shared), time_dim=0)["model_conds"]["pictures"] is shared
    with pytest.raises(ValueError, match="whether the conditioning 'pictures' runs along the video"):
        several = comfy.conds.CONDList([torch.zeros(1, 4, 8, 8), torch.zeros(2, 4, 8, 8)])
        sliced(IMAGE, LATER, entry(pictures=several), time_dim=0)
    number = entry(scale=torch.tensor(3.0))
    assert sliced(IMAGE, LATER, number, time_dim=0)["model_conds"]["scale"] is number["model_conds"]["scale"]


def test_a_part_that_is_the_same_for_all_latent_frames_is_shared():
    one = torch.ones(1, 1, 96, 1, 2, 2)
    assert sliced(WAN, LATER, entry(vace_context=one))["model_conds"]["vace_context"].cond is one


def test_models_are_asked_what_they_slice_where_they_can_be():
    asked = []

    class Model:
        def resize_cond_for_context_window(self, key, cond, window, x_in, device, retain_index_list=()):
            asked.append((key, window.index_list, window.dim, window.total_frames, list(x_in.shape), device))

    shape = [1, 16, LENGTH, 4, 4]
    cond = comfy.conds.CONDRegular(torch.zeros(1, 3))
    for model, time_dim in ((SimpleNamespace(), 2), (Model(), 0)):
        assert host_slices(model, shape, time_dim)("key", cond, View(LATER)) is None
    assert not asked
    assert host_slices(Model(), shape, 2)("key", cond, View(LATER, 1)) is None
    for nothing in (comfy.conds.CONDList([torch.zeros(1)]), comfy.conds.CONDConstant(3)):
        assert host_slices(Model(), shape, 2)("key", nothing, View(LATER)) is None
    assert asked == [("key", [0, 3, 4, 5, 6], 2, LENGTH, shape, torch.device("cpu"))]


def test_what_runs_along_the_video_is_offloaded_and_the_rest_is_not():
    moved = []

    def move(tensor):
        moved.append(tensor)
        return tensor

    mask, listed = torch.ones(1, LENGTH, 1, 1), [along(2), torch.zeros(1, 2, 1, 3, 3)]
    given = entry(
        vace_context=along(3), c_crossattn=torch.zeros(1, 7, 3), c_concat=along(2), number=comfy.conds.CONDConstant(3),
        context_latents=comfy.conds.CONDList(listed), names=comfy.conds.CONDConstant(["a"]),
    )  # fmt: skip
    kept = Conditions(WAN, LENGTH, 2).offloaded({**given, "mask": mask}, View(LATER), move)
    conds = given["model_conds"]
    wanted = [conds["vace_context"].cond, conds["c_concat"].cond, *listed, mask]
    assert len(moved) == 5 and all(any(each is other for other in moved) for each in wanted)
    assert kept["model_conds"]["c_crossattn"] is conds["c_crossattn"] and kept["model_conds"].keys() == conds.keys()
    moved.clear()
    assert "mask" not in Conditions(WAN, LENGTH, 2).offloaded(entry(), View(LATER), move) and not moved


def test_the_number_of_frames_is_that_of_the_window():
    given = entry(num_video_frames=comfy.conds.CONDConstant(LENGTH))
    assert sliced(BY_NAME["SVD"], LATER, given, time_dim=0)["model_conds"]["num_video_frames"].cond == 4


def test_the_shapes_of_streams_are_those_of_the_window():
    shapes = [[1, 128, 9, 4, 4], [1, 8, 28, 16]]
    alone = Conditions(BY_NAME["LTX-2"], LENGTH, 2)
    alone.check(entry(latent_shapes=comfy.conds.CONDConstant(shapes[:1])), View(FIRST))
    with pytest.raises(ValueError, match="does not know whether the conditioning 'latent_shapes' runs along"):
        alone.check(entry(latent_shapes=comfy.conds.CONDConstant(shapes)), View(FIRST))
    both = Conditions(BY_NAME["LTX-2"], LENGTH, 2, None, PackedLatent.of(BY_NAME["LTX-2"], shapes, 2))
    mask = torch.arange(28.0).view(1, 1, 28, 1)
    given = entry(latent_shapes=comfy.conds.CONDConstant(shapes), audio_denoise_mask=comfy.conds.CONDRegular(mask))
    own = both.slice(given, View(LATER), torch.ones(4))
    first, last = round(3 * 28 / 9), round(7 * 28 / 9)
    assert own["model_conds"]["latent_shapes"].cond == [(1, 128, 4, 4, 4), (1, 8, last - first, 16)]
    assert own["model_conds"]["audio_denoise_mask"].cond.flatten().tolist() == list(range(first, last))
    assert own["mask"].shape == (1, 128 * 4 * 16 + 8 * (last - first) * 16)


def test_packed_latents_of_which_nothing_is_known_are_refused_before_the_first_forward_pass(wan):
    with pytest.raises(ValueError, match="combines several streams, and its sampler does not say which"):
        Run(wan.model, [1, 4096], WindowOptions(17, 8))
    with pytest.raises(ValueError, match="combines 2 streams, which co-denoising does not know of Wan"):
        CoDenoiseHandler(WindowOptions(17, 8)).begin(wan.model, {}, [1, 1, 4096], 0, [[1, 16, 9, 4, 4], [1, 8, 28, 16]])


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
    weighted = sliced(BY_NAME["Wan"], ACROSS, given, weights=torch.tensor([0.5, 1, 1, 0.25]))
    assert weighted["mask"].flatten().tolist() == [0.5, 0, 0, 0.25]


def test_each_window_has_a_name_of_its_own_and_no_tag():
    given = {**entry(), TAG: "tag"}
    windows = (FIRST, LATER, Window(3, 4, 2), View(LATER, 1), FIRST)
    names = [sliced(BY_NAME["Wan"], window, given)["uuid"] for window in windows]
    assert len(set(names)) == 4 and names[0] == names[4] and given["uuid"] not in names
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


def test_constants_are_compared_by_value_and_lists_by_their_shapes():
    one, other = ({**entry(n=comfy.conds.CONDConstant(value))} for value in (3, 3))
    assert batch_key(one, 0) == batch_key(other, 1)
    lists = [entry(refs=comfy.conds.CONDList([torch.zeros(1, size)])) for size in (2, 2, 3)]
    assert batch_key(lists[0], 0) == batch_key(lists[1], 1) != batch_key(lists[2], 1)


def test_what_a_network_takes_alone_is_never_shared():
    given = entry(ref_latent=torch.zeros(1, 2, 1, 4, 4))
    assert batch_key(given, 0) == batch_key(given, 1) and batch_key(given, 0, {"other"}) == batch_key(given, 1)
    assert batch_key(given, 0, {"ref_latent"}) != batch_key(given, 1, {"ref_latent"})


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
    lists = [
        entry(refs=comfy.conds.CONDList([torch.full((1, 1), value), torch.full((2, 1), -value)]))
        for value in (1.0, 2.0)
    ]
    first, second = collate(lists, 2, [4, 2, 2], torch.device("cpu"))["model_conds"]["refs"].cond
    assert first.flatten().tolist() == [1, 1, 2, 2] and second.flatten().tolist() == [-1, -1, -2, -2]
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


def test_what_is_mixed_of_three_entries_is_what_differs_in_any():
    """The strongest gives what cannot be mixed; the tokens of all are counted."""
    parts = [
        entry(c=torch.full((1, 2, 4), value), num_tokens=comfy.conds.CONDConstant(tokens))
        for value, tokens in ((1.0, 5), (1.0, 2), (5.0, 3))
    ]
    for name, part in enumerate(parts):
        part["uuid"], part["strength"] = uuid.UUID(int=name), float(name)
    weights = torch.tensor([0.25, 0.5, 0.25])
    mixed = mix_entries(parts, weights, False)
    assert mixed["model_conds"]["c"].cond[0, 0].tolist() == [2.0] * 4
    assert mixed["model_conds"]["num_tokens"].cond == 5 and mixed["strength"] == 1.0
    # A mix for every row: the strongest is that with the most over all rows.
    rows = mix_entries(parts, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.4, 0.0], [0.0, 0.6, 1.0]]), False)
    torch.testing.assert_close(rows["model_conds"]["c"].cond[:, 0, 0], torch.tensor([1.0, 3.4, 5.0]))
    assert rows["strength"] == 2.0
    del parts[2]["model_conds"]["c"]  # what one of them lacks is the strongest's
    assert mix_entries(parts, weights, False)["model_conds"]["c"] is parts[1]["model_conds"]["c"]


def test_constants_of_windows_that_share_a_forward_pass():
    parts = [entry(number=comfy.conds.CONDConstant(3), nothing=comfy.conds.CONDConstant([])) for _ in range(2)]
    both = collate(parts, 1, [4, 2, 2], torch.device("cpu"))["model_conds"]
    assert both["number"].cond == 3 and both["nothing"].cond == []
