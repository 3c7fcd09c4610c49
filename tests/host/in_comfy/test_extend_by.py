"""StreamingExtend by so much more than what is given, in frames or seconds, in place of to a length."""

import pytest
import streaming
import tiny
import torch
from long_video_pack.nodes.load_video_pipeline import LoadVideoPipeline
from long_video_pack.nodes.streaming_extend import StreamingExtend

pytestmark = pytest.mark.every_host


def given(num_latent_frames):
    """A LATENT with content."""
    return {"samples": torch.randn(1, 16, num_latent_frames, 4, 4, generator=torch.Generator().manual_seed(3))}


@pytest.mark.parametrize(
    ("latent", "by", "length"),
    [
        pytest.param(given(5), {"extend_by": 16.0}, 33, id="frames"),
        pytest.param(given(5), {"extend_by": 2.0, "extend_unit": "seconds", "fps": 8.0}, 33, id="seconds"),
        pytest.param(None, {"extend_by": 33.0}, 33, id="from nothing"),
        pytest.param(None, {"extend_by": 1.5, "extend_unit": "seconds", "fps": 22.0}, 33, id="seconds from nothing"),
    ],
)
def test_by_so_much_is_to_the_length_of_both_together(wan, latent, by, length):
    """Wan's 5 latent frames are 17 frames."""
    longer, _ = streaming.extend(wan, latent=latent, length=0, **by)
    known, _ = streaming.extend(wan, latent=latent, length=length)
    assert longer.shape[2] == 9 and torch.equal(longer, known)


def test_an_image_is_counted_as_what_is_left_of_it(wan):
    """Of 6 frames Wan's VAE holds 5; 12 more are 17, which are 5 latent frames."""
    image = torch.rand(6, 32, 32, 3, generator=torch.Generator().manual_seed(4))
    vae = LoadVideoPipeline.execute("demo model (built in)", "transformer").args[2]
    longer, _ = streaming.extend(wan, image=image, vae=vae, length=0, extend_by=12.0)
    known, _ = streaming.extend(wan, image=image, vae=vae, length=17)
    assert longer.shape[2] == 5 and torch.equal(longer, known)


def test_the_finished_length_comes_out(wan):
    def lengths(**options):
        values = {
            "seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "chunk": 17,
            "overlap": 4, "run_name": "", "width": 32, "height": 32,
        }  # fmt: skip
        values |= {"positive": tiny.conditioning(1), "negative": tiny.conditioning(0), **options}
        return StreamingExtend.execute(wan, **values).args[2]

    assert lengths(length=30) == 33  # rounded up to what Wan can make
    assert lengths(length=0, extend_by=20.0, latent=given(5)) == 37


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 33, "extend_by": 16.0}, "extend_by is 16 and length 33 frames; one of them"),
        ({"length": 0}, "length is 0 and extend_by 0, so nothing says how long"),
        ({"length": 0, "extend_by": 0.01, "extend_unit": "seconds"}, "extend_by is 0.01 seconds, which is 0 frames"),
        ({"length": 0, "extend_by": -1.0}, "extend_by is -1.0; it must be 0"),
    ],
)
def test_mistakes_are_said(wan, options, message):
    with pytest.raises(ValueError, match=f"StreamingExtend: {message}"):
        streaming.extend(wan, **options)
