"""Scores of maps whose right answer is known, on maps whose score is obvious."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_lab.faithfulness import (
    cue_rank,
    mass_inside,
    mass_over_chance,
    pointing_game,
    random_map,
)


def corner(size=8, side=4):
    """Mask of the upper left quarter."""
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[:, :side, :side] = True
    return mask


def point(row, column, size=8):
    dot = torch.zeros(1, size, size)
    dot[0, row, column] = 1
    return dot


def test_all_inside_all_outside_and_everywhere():
    mask = corner()
    maps = torch.cat([mask.float(), (~mask).float(), torch.ones(1, 8, 8)])
    masks = mask.expand(3, 8, 8)
    assert mass_inside(maps, masks).tolist() == [1, 0, 0.25]
    assert mass_over_chance(maps, masks).tolist() == [4, 0, 1]
    assert pointing_game(maps, masks).tolist() == [1, 0, 0.25]


def test_a_known_share():
    maps = 3 * point(0, 0) + point(7, 7)
    assert mass_inside(maps, corner()).item() == 0.75
    assert mass_over_chance(maps, corner()).item() == 3
    assert pointing_game(maps, corner()).item() == 1


def test_what_speaks_against_the_class_is_no_mass():
    maps = point(0, 0) - 5 * point(7, 7)
    assert mass_inside(maps, corner()).item() == 1
    assert pointing_game(maps, corner()).item() == 1
    assert mass_inside(maps.abs(), corner()).item() == pytest.approx(1 / 6)


def test_no_map_is_too_strong_or_too_faint():
    for strength in (1e38, 1e-38):
        assert mass_inside(strength * torch.ones(1, 8, 8), corner()).item() == 0.25


def test_a_map_without_mass_has_no_share():
    maps = torch.cat([torch.zeros(1, 8, 8), -torch.ones(1, 8, 8)])
    masks = corner().expand(2, 8, 8)
    assert mass_inside(maps, masks).isnan().all()
    assert mass_over_chance(maps, masks).isnan().all()
    assert pointing_game(maps, masks).tolist() == [0.25, 0.25]


def test_ties_count_as_picking_one_of_them_would():
    assert pointing_game(point(0, 0) + point(7, 7), corner()).item() == 0.5


@pytest.mark.parametrize(("tolerance", "hit"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_tolerance_is_the_distance_that_still_hits(tolerance, hit):
    # Row 5 is two below the last row of the mask.
    assert pointing_game(point(5, 0), corner(), tolerance).item() == hit


def test_tolerance_is_round():
    # One step down and one to the right of the corner: 1.41 away.
    assert pointing_game(point(4, 4), corner(), 1).item() == 0
    assert pointing_game(point(4, 4), corner(), 2).item() == 1


def test_noise_scores_as_chance_does():
    masks = corner(32, 8).expand(400, 32, 32)
    noise = random_map(masks)
    assert mass_over_chance(noise, masks).mean().item() == pytest.approx(1, abs=0.02)
    assert pointing_game(noise, masks).mean().item() == pytest.approx(1 / 16, abs=0.035)
    assert torch.equal(noise, random_map(masks)), "the seed decides"


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), power=st.integers(-30, 37))
def test_scores_do_not_depend_on_the_scale_of_a_map(seed, power):
    maps = torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(seed))
    masks = torch.rand(3, 6, 7, generator=torch.Generator().manual_seed(seed + 1)) < 0.4
    masks[:, 0, 0] = True
    scaled = maps * 10.0**power
    torch.testing.assert_close(mass_inside(scaled, masks), mass_inside(maps, masks))
    assert torch.equal(pointing_game(scaled, masks), pointing_game(maps, masks))
    outside = ~masks | (masks.flatten(1).all(dim=1))[:, None, None]
    if not masks.flatten(1).all(dim=1).any():
        both = mass_inside(maps, masks) + mass_inside(maps, outside)
        torch.testing.assert_close(both, torch.ones(3))


def test_the_strongest_word_is_the_cue():
    cues = torch.tensor([[False, True, False, False]])
    assert cue_rank(torch.tensor([[0.1, 0.9, 0.2, -3.0]]), cues).item() == 1
    assert cue_rank(torch.tensor([[0.9, 0.1, 0.2, -3.0]]), cues).item() == 3
    assert cue_rank(torch.tensor([[0.9, -9.0, 0.2, -3.0]]), cues).item() == 4


def test_first_cue_and_mean_of_cues():
    scores = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0]]).expand(2, 5)
    cues = torch.tensor([[False, True, False, True, False], [True, False, False, False, True]])
    assert cue_rank(scores, cues).tolist() == [2, 1]
    assert cue_rank(scores, cues, "mean").tolist() == [3, 3]


def test_words_that_score_alike_share_their_rank():
    cues = torch.tensor([[True, False, False]])
    assert cue_rank(torch.zeros(1, 3), cues).item() == 2


def test_padding_comes_last():
    scores = torch.tensor([[0.3, -1.0, -torch.inf, -torch.inf]])
    cues = torch.tensor([[False, True, False, False]])
    assert cue_rank(scores, cues).item() == 2


def test_random_scores_rank_as_documented():
    words, count = 9, 4000
    scores = torch.rand(count, words, generator=torch.Generator().manual_seed(0))
    cues = torch.zeros(count, words, dtype=torch.bool)
    cues[:, [2, 5]] = True
    assert cue_rank(scores, cues).mean().item() == pytest.approx(10 / 3, abs=0.15)
    assert cue_rank(scores, cues, "mean").mean().item() == pytest.approx(5, abs=0.15)


@pytest.mark.parametrize("score", [mass_inside, mass_over_chance, pointing_game])
def test_impossible_maps_are_refused_in_words(score):
    ok, mask = torch.ones(2, 8, 8), corner().expand(2, 8, 8)
    with pytest.raises(ValueError, match="merge the colours first"):
        score(torch.ones(2, 3, 8, 8), mask)
    with pytest.raises(ValueError, match=r"maps have shape \(2, 8, 8\) and masks \(2, 4, 8\)"):
        score(ok, mask[:, :4])
    with pytest.raises(TypeError, match=r"torch.float32, expected bool: `masks > 0.5`"):
        score(ok, mask.float())
    with pytest.raises(ValueError, match="NaN or infinity"):
        score(ok * torch.nan, mask)
    with pytest.raises(ValueError, match="sample 1 has no mask: there is nothing to find"):
        score(ok, torch.cat([corner(), ~corner() & corner()]))


def test_impossible_words_are_refused_in_words():
    ok, cues = torch.ones(1, 3), torch.tensor([[True, False, False]])
    with pytest.raises(ValueError, match="expected both"):
        cue_rank(ok, cues[:, :2])
    with pytest.raises(ValueError, match="sample 0 has no cue"):
        cue_rank(ok, ~cues & cues)
    with pytest.raises(TypeError, match="expected bool"):
        cue_rank(ok, cues.int())
    with pytest.raises(ValueError, match="'first' or 'mean'"):
        cue_rank(ok, cues, "best")
    with pytest.raises(ValueError, match="NaN"):
        cue_rank(ok * torch.nan, cues)
    with pytest.raises(ValueError, match="tolerance is -1"):
        pointing_game(torch.ones(1, 8, 8), corner(), -1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_graphs_are_welcome(dtype):
    maps = (3 * point(0, 0) + point(7, 7)).to(dtype).requires_grad_()
    for score in (mass_inside, pointing_game):
        found = score(maps, corner())
        assert not found.requires_grad
        assert found.dtype == torch.float32


@pytest.mark.gpu
def test_masks_follow_the_maps_to_their_device():
    maps = (3 * point(0, 0) + point(7, 7)).cuda()
    assert mass_inside(maps, corner()).item() == 0.75
    assert mass_over_chance(maps, corner()).item() == 3
    assert pointing_game(maps, corner(), 2).is_cuda
    assert random_map(maps).is_cuda
