"""What a chunk of a stream gets of every condition, and what is refused before the first one; without a model."""

import pytest
import torch
from long_video_pack.glv_core.hosts.comfy.families import FAMILIES, Along
from long_video_pack.glv_core.hosts.comfy.families.image import IMAGE
from long_video_pack.glv_core.hosts.comfy.streaming.conditions import check_conditions, conditions_of
from long_video_pack.glv_core.timeline import Place

pytestmark = pytest.mark.every_host
LENGTH, CHUNK = 9, 5
VIDEO = [family for family in FAMILIES if family.compression.ratio > 1]


def named(family) -> str:
    return "/".join([family.name, *family.classes[:1]])


BY_NAME = {named(family): family for family in VIDEO}
WAN = BY_NAME["Wan"]


ONE_EACH = Along()


def along(rule=ONE_EACH, length=LENGTH):
    """A condition whose values are the numbers of the latent frames that its parts belong to."""
    per_frame = rule.scale or 5
    ndim = max(5, rule.axis + 1) if rule.scale == 1 else max(3, rule.axis + 1)
    numbers = torch.arange(float(length)).repeat_interleave(per_frame)
    shape = [1] * ndim
    shape[rule.axis] = len(numbers)
    return numbers.view(shape).clone()


def entry(**extras):
    return [[torch.zeros(1, 7, 3), extras]]


def check(entries, family=WAN, num_chunks=2, replaced=False, time_dim=2):
    check_conditions(entries, family, LENGTH, CHUNK, num_chunks, replaced, time_dim)


def part(entries, family, place, length=CHUNK, time_dim=2):
    return conditions_of(entries, family.chunk_along, place, length, time_dim)[0][1]


ALONG = [(name, key) for name, family in BY_NAME.items() for key in family.chunk_along]


@pytest.mark.parametrize(("name", "key"), ALONG, ids=["-".join(each) for each in ALONG])
def test_every_condition_along_the_video_is_cut_for_its_chunk(name, key):
    family = BY_NAME[name]
    rule = family.chunk_along[key]
    value = along(rule)
    check(entry(**{key: value}), family)
    for start, frames in ((0, [0, 1, 2, 3, 4]), (4, [4, 5, 6, 7, 8]), (6, [6, 7, 8, 8, 8]), (-1, [0, 0, 1, 2, 3])):
        got = part(entry(**{key: value}), family, Place(start, LENGTH))[key]
        assert got.flatten().tolist() == [frame for frame in frames for _ in range(rule.scale or 5)]
    listed = part(entry(**{key: [value, value + 1]}), family, Place(4, LENGTH))[key]
    assert listed[1].flatten()[0] == 5 and len(listed) == 2


def test_a_single_image_is_every_chunk_s():
    one = torch.ones(1, 16, 1, 4, 4)
    check(entry(concat_latent_image=one))
    assert part(entry(concat_latent_image=one), WAN, Place(4, LENGTH))["concat_latent_image"] is one


def test_what_is_cut_is_a_copy():
    given = entry(concat_mask=along())
    part(given, WAN, Place(4, LENGTH))
    assert given[0][1]["concat_mask"].shape[2] == LENGTH


@pytest.mark.parametrize("length", [CHUNK, LENGTH - 1, LENGTH + 1])
def test_a_condition_of_another_length_is_refused(length):
    short = entry(vace_frames=[along(length=length)])
    with pytest.raises(ValueError, match=f"'vace_frames' is {length} latent frames long, the video 9"):
        check(short)
    if length == CHUNK:  # made for the one chunk that there is
        check(short, num_chunks=1)
    else:
        with pytest.raises(ValueError, match="'vace_frames'"):
            check(short, num_chunks=1)


def test_a_start_image_is_replaced_where_chunks_bring_their_own():
    short = entry(concat_latent_image=along(length=3), concat_mask=along(length=3))
    check(short, replaced=True)
    with pytest.raises(ValueError, match="'concat_latent_image' is 3 latent frames long"):
        check(short)
    with pytest.raises(ValueError, match="'vace_frames'"):  # no start image
        check(entry(vace_frames=along(length=3)), replaced=True)


def test_sound_that_ends_too_soon_is_refused():
    speech = BY_NAME["Wan 2.2 S2V/WAN22_S2V"]
    check(entry(audio_embed=torch.zeros(1, 25, 64, 36)), speech)
    check(entry(audio_embed=torch.zeros(1, 25, 64, 40)), speech)
    with pytest.raises(ValueError, match="'audio_embed' is 8 latent frames long, the video 9"):
        check(entry(audio_embed=torch.zeros(1, 25, 64, 35)), speech)
    check(entry(audio_embed=torch.zeros(1, 25, 64, 20)), speech, num_chunks=1)
    check(entry(audio_embed=torch.zeros(1, 3, 35)), BY_NAME["WanDancer/WAN22_WanDancer"])  # any length lasts as long


REFUSED = [(name, key) for name, family in BY_NAME.items() for key in family.chunk_refused]


@pytest.mark.parametrize(("name", "key"), REFUSED, ids=["-".join(each) for each in REFUSED])
def test_what_cannot_be_cut_is_refused_by_name(name, key):
    family = BY_NAME[name]
    with pytest.raises(ValueError) as caught:
        check(entry(**{key: torch.zeros(1, 3)}), family)
    assert family.chunk_refused[key] in str(caught.value) and "in one chunk" in str(caught.value)
    check(entry(**{key: torch.zeros(1, 3)}), family, num_chunks=1)
    check(entry(**{key: None}), family)


def test_what_has_several_latent_frames_and_is_not_known_is_refused():
    with pytest.raises(ValueError, match="how the conditioning 'unheard' runs along the video: it holds 9 latent"):
        check(entry(unheard=[torch.zeros(1, 16, 1, 4, 4), along()]))
    check(entry(unheard=along()), num_chunks=1)
    check(entry(unheard=[torch.zeros(1, 16, 1, 4, 4)], pooled_output=torch.zeros(1, 768), guidance=3.5))
    check(entry(time_dim_concat=along(length=3)))  # Phantom's subjects, which every chunk sees
    check(entry(unheard=along()), IMAGE, time_dim=0)  # frames are the batch there


def test_the_tables_have_what_is_known():
    for name in ("Wan", "Wan 2.2 5B", "Wan/WAN21_Vace"):
        assert {"vace_frames", "vace_mask", "camera_conditions", "concat_mask"} <= BY_NAME[name].chunk_along.keys()
        assert {"audio_embed", "pose_video_latent", "face_video_pixels"} <= BY_NAME[name].chunk_refused.keys()
        assert BY_NAME[name].start_image == {"concat_latent_image", "concat_mask"}
    assert BY_NAME["Wan 2.2 S2V/WAN22_S2V"].chunk_along["audio_embed"] == Along(3, 4)
    assert BY_NAME["WanDancer/WAN22_WanDancer"].chunk_along["audio_embed"] == Along(1, 0)
    assert "keyframe_idxs" in BY_NAME["LTX"].chunk_refused
