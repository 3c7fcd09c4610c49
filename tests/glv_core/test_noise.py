from dataclasses import FrozenInstanceError

import pytest
import torch

from glv_core.noise import NOISES, NoiseSettings, _mix, long_noise, step_seed


def noise(kind, frames=40, seed=3, time_dim=2, channels=4, size=32, **options):
    shape = [1, channels, frames, size, size] if time_dim == 2 else [frames, channels, size, size]
    settings = NoiseSettings(kind, **{"window": 16, "overlap": 4, **options})
    return long_noise(torch.empty(shape), seed, settings, time_dim).movedim(time_dim, 0).flatten(1)


@pytest.mark.parametrize("kind", sorted(NOISES))
@pytest.mark.parametrize("time_dim", [0, 2])
def test_every_frame_has_mean_0_and_variance_1(kind, time_dim):
    frames = noise(kind, time_dim=time_dim)
    assert frames.mean(1).abs().max() < 5 / frames.shape[1] ** 0.5
    assert (frames.var(1) - 1).abs().max() < 5 * (2 / frames.shape[1]) ** 0.5


@pytest.mark.parametrize("kind", sorted(NOISES))
def test_the_seed_alone_makes_it(kind):
    state = torch.get_rng_state()
    assert torch.equal(noise(kind), noise(kind))
    assert not torch.allclose(noise(kind), noise(kind, seed=4))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", sorted(NOISES))
def test_type_and_given_tensor_are_kept(kind):
    given = torch.full((1, 2, 20, 4, 4), 7.0, dtype=torch.float16)
    made = long_noise(given, 1, NoiseSettings(kind))
    assert made.dtype == torch.float16 and made.shape == given.shape
    assert (given == 7).all()


def correlations(frames):
    return torch.corrcoef(frames)


def test_independent_frames_are_not_alike():
    off = correlations(noise("independent")) - torch.eye(40)
    assert off.abs().max() < 0.1


@pytest.mark.parametrize("longer", [41, 80])
def test_stable_noise_of_a_longer_video_starts_like_the_shorter_one(longer):
    assert torch.equal(noise("stable", 40), noise("stable", longer)[:40])
    assert not torch.equal(noise("independent", 40), noise("independent", longer)[:40])


def test_stable_noise_of_neighbouring_seeds_shares_no_frame():
    frames = torch.cat([noise("stable", seed=seed) for seed in (0, 1)])
    assert (correlations(frames) - torch.eye(80)).abs().max() < 0.1


# The first numbers of splitmix64 from seed 0, as its authors print them, without their last bit.
MIXED = [number >> 1 for number in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)]


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_stable_noise_is_drawn_from_splitmix64():
    made = long_noise(torch.empty(1, 2, 4, 3, 3), 0, NoiseSettings("stable"))
    for frame, seed in enumerate(MIXED):
        assert torch.equal(made[:, :, frame], drawn(seed, 1, 2, 1, 3, 3)[:, :, 0])


def test_the_noise_of_a_step_is_like_no_other():
    """Of neighbouring seeds, steps, and what a run of the seed draws itself: frames of ``stable``, what is shared."""
    seeds = [0, 1, 2, 2**63 - 1]
    made = [step_seed(seed, step) for seed in seeds for step in range(1000)]
    drawn_by_runs = [*seeds, *(_mix(seed, index) for seed in seeds for index in range(1000))]
    assert len({*made, *drawn_by_runs}) == len(made) + len(drawn_by_runs)
    assert all(0 <= seed < 2**63 for seed in made) and step_seed(1, 2) == step_seed(1, 2)
    noises = torch.stack([drawn(seed, 10_000) for seed in (0, *(step_seed(0, step) for step in range(4)))])
    assert (torch.corrcoef(noises) - torch.eye(5)).abs().max() < 0.05


def test_mixed_noise_is_its_own_and_what_is_shared():
    made = long_noise(torch.empty(1, 2, 5, 3, 3), 0, NoiseSettings("mixed", shared=0.36))
    own, common = drawn(0, 1, 2, 5, 3, 3), drawn(MIXED[0], 1, 2, 1, 3, 3)
    torch.testing.assert_close(made, 0.6 * common + 0.8 * own)


def test_shuffled_noise_by_hand():
    # Windows of 5 that share 2: frames 5, 6, 7 are 0, 1, 2 in a first order, and 8, 9 two of 3, 4, 5 in a second.
    made = long_noise(torch.empty(10, 2, 3), 0, NoiseSettings("shuffled", 5, 2), time_dim=0)
    order = torch.Generator().manual_seed(MIXED[0])
    first, second = (torch.randperm(3, generator=order).tolist() for _ in range(2))
    expected = list(drawn(0, 10, 2, 3)[:5])
    expected += [expected[place] for place in first]
    expected += [expected[3 + place] for place in second[:2]]
    assert torch.equal(made, torch.stack(expected))


def test_shuffled_noise_repeats_the_frames_of_the_window_before():
    frames = noise("shuffled", 64)
    same = correlations(frames) > 0.99
    for place in range(16, 64, 12):
        count = min(12, 64 - place)
        sources = [int(same[frame, place - 16 : place - 4].nonzero()[0]) for frame in range(place, place + count)]
        assert len(set(sources)) == count, "a frame is used twice"
    assert (same.sum(1) >= 3).float().mean() > 0.9
    order = [int(same[frame, :12].nonzero()[0]) for frame in range(16, 28)]
    assert order != sorted(order)
    assert torch.equal(frames[:16], noise("independent", 64)[:16])


def test_repeated_noise_goes_round():
    frames = noise("repeated", 40)
    assert torch.equal(frames[16:32], frames[:16]) and torch.equal(frames[32:], frames[:8])
    assert correlations(frames[:16]).fill_diagonal_(0).abs().max() < 0.1


@pytest.mark.parametrize("shared", [0.0, 0.3, 1.0])
def test_mixed_noise_shares_what_it_says(shared):
    off = correlations(noise("mixed", 12, shared=shared))[~torch.eye(12, dtype=torch.bool)]
    assert (off - shared).abs().max() < 0.1


def test_the_least_and_the_most_that_may_be_asked():
    assert NoiseSettings("shuffled", 1, 0).window == 1 and NoiseSettings("shuffled", 16, 15).overlap == 15
    assert NoiseSettings("mixed", shared=0).shared == 0 and NoiseSettings("mixed", shared=1).shared == 1


def test_noise_is_independent_and_of_windows_of_16_unless_said_otherwise():
    assert NoiseSettings() == NoiseSettings("independent", window=16, overlap=4, shared=0.5)
    with pytest.raises(FrozenInstanceError):
        NoiseSettings().window = 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "pink"}, "Unknown noise 'pink'. Known: independent, stable"),
        ({"shared": 1.5}, r"is 1\.5; it must be 0 to 1"),
        ({"shared": -0.5}, r"is -0\.5; it must be 0 to 1"),
        ({"window": 4, "overlap": 4}, "windows of 4 with overlap 4"),
        ({"window": 4, "overlap": -1}, "windows of 4 with overlap -1"),
        ({"window": 0, "overlap": 0}, "windows of 0 with overlap 0"),
    ],
)
def test_bad_values(options, words):
    with pytest.raises(ValueError, match=words):
        NoiseSettings(**options)


def test_seed_and_index_are_mixed_as_splitmix64_does():
    """The published outputs of splitmix64 from seed 0, of which one bit is left out; the next one is of index 1."""
    outputs = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert [_mix(0, index) for index in range(3)] == [output >> 1 for output in outputs]
    assert _mix(2**64, 0) == _mix(0, 0) and 0 <= _mix(2**64 - 1, 9) < 2**63


@pytest.mark.parametrize(("window", "overlap", "allowed"), [(1, 0, True), (4, 3, True), (4, 4, False), (4, -1, False),
                                                            (0, 0, False)])  # fmt: skip
def test_sizes_of_noise(window, overlap, allowed):
    if allowed:
        assert NoiseSettings("shuffled", window, overlap).window == window
    else:
        with pytest.raises(ValueError, match=f"Noise for windows of {window} with overlap {overlap}"):
            NoiseSettings("shuffled", window, overlap)


def test_repeated_noise_of_a_video_shorter_than_its_window_is_plain_noise():
    settings = NoiseSettings("repeated", 8, 2)
    like = torch.zeros(1, 2, 5, 3, 3)
    assert torch.equal(long_noise(like, 3, settings), long_noise(like, 3, NoiseSettings("independent")))
