"""Identities of rollout, flow, relevance, entropy and distance, for all attention there can be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xai_lab.attention import attention_maps, cls_map, distance, entropy, flow, relevance, rollout

quick = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**31)
shares = st.floats(0, 1)


def attention(seed, layers=3, n=2, heads=2, tokens=5, sharp=3.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (layers, n, heads, tokens, tokens)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(sharp).softmax(-1)


@quick
@given(
    seed=seeds,
    residual=shares,
    cut=st.floats(0, 0.99),
    fusion=st.sampled_from(["mean", "max", "min"]),
)
def test_rollout_rows_are_distributions(seed, residual, cut, fusion):
    R = rollout(attention(seed), residual=residual, discard=cut, fusion=fusion)
    assert (R >= 0).all()
    torch.testing.assert_close(R.sum(dim=-1), torch.ones_like(R[..., 0]))


@quick
@given(seed=seeds, residual=shares)
def test_rollout_of_a_stack_is_the_product_of_its_parts(seed, residual):
    A = attention(seed, layers=4)
    below, above = rollout(A[:2], residual=residual), rollout(A[2:], residual=residual)
    torch.testing.assert_close(rollout(A, residual=residual), above @ below)


@quick
@given(seed=seeds)
def test_renaming_the_tokens_renames_the_results(seed):
    A = attention(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    renamed = A[..., order, :][..., order]
    torch.testing.assert_close(rollout(renamed), rollout(A)[..., order, :][..., order])
    torch.testing.assert_close(
        flow(renamed, 0), flow(A, int(order[0]))[:, order], atol=1e-7, rtol=0
    )
    torch.testing.assert_close(entropy(renamed), entropy(A)[..., order])


@quick
@given(seed=seeds)
def test_the_order_of_heads_and_samples_does_not_matter(seed):
    A = attention(seed)
    torch.testing.assert_close(rollout(A.flip(2)), rollout(A))
    torch.testing.assert_close(rollout(A.flip(1)), rollout(A).flip(0))
    torch.testing.assert_close(flow(A.flip(2)), flow(A), atol=1e-7, rtol=0)


@quick
@given(seed=seeds, sharp=st.floats(0, 20))
def test_flow_is_between_rollout_and_the_narrowest_level(seed, sharp):
    A = attention(seed, sharp=sharp)
    M = 0.5 * A.mean(dim=2) + 0.5 * torch.eye(5, dtype=A.dtype)
    found = flow(A, 2)
    assert (found >= rollout(A)[:, 2] - 1e-7).all()
    assert (found <= M[0].sum(dim=-2).clamp(max=1) + 1e-7).all()


@quick
@given(seed=seeds, sharp=st.floats(0, 50))
def test_entropy_is_between_one_token_and_all_alike(seed, sharp):
    H = entropy(attention(seed, sharp=sharp))
    assert (H >= 0).all()
    assert (H <= math.log(5) + 1e-9).all()


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_an_even_row_has_the_largest_entropy_and_a_known_distance(tokens):
    A = torch.full((tokens, tokens), 1 / tokens, dtype=torch.float64)
    assert entropy(A) == pytest.approx(math.log(tokens))
    expected = [sum(abs(i - j) for j in range(tokens)) / tokens for i in range(tokens)]
    torch.testing.assert_close(distance(A), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_head_that_looks_so_far_back_has_this_distance(step):
    A = torch.eye(6).roll(-step, dims=1)
    A[:step] = torch.eye(6)[:step]
    assert (distance(A)[step:] == step).all()


@quick
@given(seed=seeds)
def test_a_grid_of_one_row_has_the_distance_of_the_tokens(seed):
    A = attention(seed)
    torch.testing.assert_close(distance(A, grid=(1, 5)), distance(A))
    torch.testing.assert_close(distance(A, grid=(5, 1)), distance(A))


@quick
@given(seed=seeds)
def test_cls_maps_hold_what_cls_gives_to_patches(seed):
    A = attention(seed, tokens=13)
    grid = cls_map(A, (30, 40), upsample=False)
    torch.testing.assert_close(grid.sum(dim=(2, 3)), 1 - A[-1, :, :, 0, 0])


class Scored(nn.Module):
    """Two layers of attention over the inputs, with a linear head on the first token."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in "ab")
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for attend in self.layers:
            x = x + attend(x, x, x, need_weights=False)[0]
        return self.head(x[:, 0])


@quick
@given(seed=seeds, factor=st.floats(0.1, 10))
def test_relevance_above_the_identity_grows_with_the_score(seed, factor):
    model = Scored().double()
    x = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    eye = torch.eye(4, dtype=torch.float64)
    one = relevance(model, x, lambda y: y[:, 0], start_layer=1) - eye
    scaled = relevance(model, x, lambda y: factor * y[:, 0], start_layer=1) - eye
    assert (one >= 0).all()
    torch.testing.assert_close(scaled, factor * one)


@quick
@given(seed=seeds)
def test_in_the_last_layer_only_the_row_that_is_read_has_relevance(seed):
    x = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(seed))
    R = relevance(Scored(), x, 1, start_layer=1)
    assert torch.equal(R[:, 1:], torch.eye(4)[1:].expand(2, -1, -1))


@quick
@given(seed=seeds)
def test_attention_maps_follow_the_order_of_the_tokens(seed):
    x = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    model = Scored()
    torch.testing.assert_close(
        attention_maps(model, x[:, order]),
        attention_maps(model, x)[..., order, :][..., order],
        atol=1e-5,
        rtol=1e-4,
    )
