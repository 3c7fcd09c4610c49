import math

import pytest
import torch

from glv_core.prompts import frame_attention
from glv_core.prompts.frame_attention import UNSEEN, frame_bias, free_length, query_bias, row_groups

WEIGHTS = torch.tensor([[1.0, 0.25, 0.0], [0.0, 0.75, 1.0]])


def test_the_bias_is_the_log_of_the_weight():
    seen = [[math.log(weight) if weight else UNSEEN for weight in column for _ in range(3)] for column in WEIGHTS.T]
    torch.testing.assert_close(frame_bias(WEIGHTS, [3, 3]), torch.tensor(seen))
    assert frame_bias(WEIGHTS, [1, 4])[0].tolist() == [0.0, *[UNSEEN] * 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_what_is_not_seen_has_no_part_in_any_type(dtype):
    """The softmax by hand, of logits as large as a network's."""
    logits = torch.tensor([10.0, 30.0, 12.0]).to(dtype)
    bias = frame_bias(WEIGHTS, [1, 2]).to(dtype)
    assert bias.isfinite().all() and torch.softmax(logits + bias[0], dim=0).tolist() == [1.0, 0.0, 0.0]
    shares = [0.25 * math.exp(10 - 30), 0.75 * math.exp(0), 0.75 * math.exp(12 - 30)]
    expected = torch.tensor([share / sum(shares) for share in shares])
    torch.testing.assert_close(torch.softmax((logits + bias[1]).float(), dim=0), expected, rtol=0, atol=1e-3)


def test_every_token_of_a_frame_has_its_bias():
    bias = torch.arange(12.0).reshape(2, 3, 2)
    rows = query_bias(bias, 2)
    assert rows.shape == (2, 1, 6, 2)
    for query in range(6):
        assert torch.equal(rows[:, 0, query], bias[:, query // 2])


def test_tokens_around_the_video_see_the_mean_of_its_weights():
    rows = query_bias(frame_bias(WEIGHTS, [1, 1])[None], 2, before=1, after=3)[0, 0].exp()
    assert rows.shape == (10, 2)
    torch.testing.assert_close(rows[[0, 7, 8, 9]], WEIGHTS.mean(dim=1).expand(4, 2))
    torch.testing.assert_close(rows[1:7], WEIGHTS.T.repeat_interleave(2, dim=0))


def test_a_free_length():
    assert [free_length(length, {5, 6, 9}) for length in (4, 5, 6, 9)] == [4, 7, 7, 10]


def test_prompt_relays_penalty_without_a_prompt_of_the_whole_video_is_a_cut():
    """Its formula by hand, for segments of 7, 12 and 5 latent frames, against weights that change from 0 to 1."""
    lengths, sigma = [7, 12, 5], 1 / math.log(1 / 1e-3)
    penalties, owners, start = [], [], 0
    for index, length in enumerate(lengths):
        middle = start + length / 2
        far = [max(abs(frame + 0.5 - middle) - (length / 2 - 2), 0.0) for frame in range(sum(lengths))]
        penalties.append([-(each**2) / (2 * sigma**2) for each in far])
        owners += [index] * length
        start += length
    hard = torch.nn.functional.one_hot(torch.tensor(owners)).T.float()
    relay, ours = (torch.softmax(each, dim=0) for each in (torch.tensor(penalties), frame_bias(hard, [1] * 3).T))
    torch.testing.assert_close(ours, relay, rtol=0, atol=1e-6)


#: A row of two prompts: whose the tokens of its head are, and those behind: of the first, a fade, both alike, of the
#: second.
OWNERS, ROW = (
    torch.tensor([-1, 0, 1, 0, 1, 1]),
    torch.tensor([[1.0, 1.0, 0.75, 0.5, 0.5, 0.5, 0.0], [0.0, 0.0, 0.25, 0.5, 0.5, 0.5, 1.0]]),
)


@pytest.mark.parametrize("many", [1, 2, 3, 4, 512])
def test_a_row_in_groups_is_a_row_under_a_mask(many, monkeypatch):
    """Softmax under a mask as large as the row, against that of each group over what it sees."""
    monkeypatch.setattr(frame_attention, "_MANY", many)
    logits = torch.randn(13, 13, generator=torch.Generator().manual_seed(1))
    mean = ROW.mean(dim=1)
    weights = torch.stack([mean, *torch.eye(2)[[0, 1, 0, 1, 1]], *ROW.T])
    shares = torch.cat([torch.ones(13, 1), weights[:, [0, 1, 0, 1, 1]], torch.ones(13, 7)], dim=1)
    expected = torch.softmax(logits + shares.log(), dim=1)
    seen = torch.zeros(13, 13)
    for group in row_groups(OWNERS, ROW):
        texts = [(prompt == OWNERS).nonzero().flatten() for prompt in group.prompts]
        keys = torch.cat([torch.tensor([0]), *texts, torch.arange(6, 13)])
        bias = group.key_bias([2, 3], 1, 7)
        assert (bias is None) == (len(group.prompts) == 1)
        assert bias is None or (bias.shape[0] in (1, len(group.queries)) and bias.shape[0] <= many)
        part = logits[group.queries][:, keys]
        seen[group.queries[:, None], keys] += torch.softmax(part if bias is None else part + bias, dim=1)
    torch.testing.assert_close(seen, expected)


def test_a_row_has_as_few_groups_as_may_be(monkeypatch):
    def shape(groups):
        return [
            (group.queries.tolist(), group.prompts, None if group.bias is None else len(group.bias)) for group in groups
        ]

    one, other = ([1, 3, 6, 7], (0,), None), ([2, 4, 5, 12], (1,), None)
    assert shape(row_groups(OWNERS, ROW)) == [one, other, ([0, 8, 9, 10, 11], (0, 1), 5)]
    monkeypatch.setattr(frame_attention, "_MANY", 3)  # three that count the same have one bias
    assert shape(row_groups(OWNERS, ROW)) == [one, other, ([9, 10, 11], (0, 1), 1), ([0, 8], (0, 1), 2)]
