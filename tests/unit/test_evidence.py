"""Measurements on areas: which are marked, which are equal to them, when hiding one counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_lab import evidence
from xai_lab.evidence import Hiding, elsewhere, highlighted, log_odds, weigh


def patch_model(x):
    """Two classes: how bright the upper left quarter is, against a constant."""
    h, w = x.shape[2] // 2, x.shape[3] // 2
    bright = 8 * x[:, :, :h, :w].mean(dim=(1, 2, 3))
    return torch.stack([bright, torch.full_like(bright, 2.0)], dim=1)


def picture(side=16):
    x = torch.zeros(1, 3, side, side)
    x[..., : side // 2, : side // 2] = 1
    return x


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), share=st.floats(0.02, 0.6))
def test_an_area_is_as_large_as_its_share_and_holds_the_highest_values(seed, share):
    maps = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(seed)) + 0.01
    marked = highlighted(maps, share)
    assert marked.flatten(1).sum(dim=1).tolist() == [max(1, round(share * 99))] * 2
    for one, area in zip(maps, marked, strict=True):
        assert one[area].min() >= one[~area].max()


def test_only_what_is_above_zero_is_marked_and_a_flat_map_marks_nothing():
    maps = torch.zeros(3, 8, 8)
    maps[0, 2, 3] = 1.0
    maps[1] = 1.0
    marked = highlighted(maps, 0.5)
    assert marked.flatten(1).sum(dim=1).tolist() == [1, 0, 0]
    assert marked[0, 2, 3]


def test_areas_elsewhere_are_equal_apart_and_all_different():
    mask = torch.zeros(20, 24, dtype=torch.bool)
    mask[3:9, 4:12] = True
    others = elsewhere(mask, 12, seed=1)
    assert others.shape == (12, 20, 24)
    assert (others.flatten(1).sum(dim=1) == mask.sum()).all()
    assert not (others & mask).any()
    assert len({tuple(one.flatten().tolist()) for one in others}) == 12
    assert torch.equal(others, elsewhere(mask, 12, seed=1))
    assert not torch.equal(others, elsewhere(mask, 12, seed=2))


def test_areas_elsewhere_avoid_what_they_are_told_to():
    mask, away = torch.zeros(20, 20, dtype=torch.bool), torch.zeros(20, 20, dtype=torch.bool)
    mask[:4, :4] = True
    away[10:] = True
    assert not (elsewhere(mask, 10, avoid=away) & (mask | away)).any()


def test_an_area_too_large_to_be_missed_is_missed_as_far_as_possible():
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:12] = True
    others = elsewhere(mask, 5)
    assert len(others) == 5
    assert ((others & mask).sum(dim=(1, 2)) / mask.sum()).max() < 0.75


def test_drawing_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    elsewhere(highlighted(torch.rand(1, 8, 8, generator=torch.Generator()), 0.2)[0], 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_log_odds_of_the_softmax():
    outputs = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    p = outputs.softmax(dim=1)[:, 2]
    torch.testing.assert_close(log_odds(outputs, 2), (p / (1 - p)).log())
    assert log_odds(torch.tensor([[200.0, 0.0]]), 0).item() == 200, "where p is 1 in float32"
    with pytest.raises(ValueError, match="one class"):
        log_odds(torch.rand(2, 1), 0)


def test_hiding_what_decides_is_evidence_and_hiding_the_rest_is_none():
    x = picture()
    decides = torch.zeros(16, 16, dtype=torch.bool)
    decides[:8, :8] = True
    before = patch_model(x)[0]
    for mask, verdict in ((decides, "holds"), (decides.roll(8, 1), "does not hold")):
        masks = torch.cat([mask[None], elsewhere(mask, 20)])
        after = evidence.hidden(patch_model, x, masks)
        assert {name: tuple(one.shape) for name, one in after.items()} == {
            "blur": (21, 2),
            "inpaint": (21, 2),
        }
        assert weigh(before, after, 0, 0.25).verdict == verdict


def test_evidence_that_depends_on_the_fill_is_undecided():
    before = torch.tensor([3.0, 0.0])
    falls = torch.tensor([[0.0, 0.0], *[[3.0, 0.0]] * 20])
    stays = torch.tensor([[3.0, 0.0]] * 21)
    assert weigh(before, {"blur": falls, "mean": falls}, 0, 0.1).verdict == "holds"
    assert weigh(before, {"blur": falls, "mean": stays}, 0, 0.1).verdict == "undecided"
    assert weigh(before, {"blur": stays, "mean": stays}, 0, 0.1).verdict == "does not hold"


def test_chance_counts_the_area_itself():
    def hiding(drop, others):
        return Hiding(0.9, 0.1, drop, tuple(others), 0.9)

    assert hiding(2.0, [0.0] * 19).chance == 1 / 20
    assert hiding(2.0, [0.0] * 19).holds()
    assert not hiding(2.0, [0.0] * 18).holds(), "18 areas cannot show a chance of 1 in 20"
    assert hiding(2.0, [2.0] + [0.0] * 19).chance == 2 / 21
    assert not hiding(2.0, [2.0] + [0.0] * 19).holds()
    assert not hiding(0.5, [0.0] * 30).holds(), "less than half the odds"


def test_stability_undoes_the_shift():
    maps = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))
    x = maps[:, None].expand(1, 3, 28, 28)
    found = evidence.stability(lambda pictures: pictures.mean(dim=1), x, maps)
    assert found["shift"] > 0.9
    assert 0.9 < found["noise"] < 1
    stuck = evidence.stability(lambda pictures: pictures.mean(dim=1).roll(9, 2), x, maps)
    assert stuck["shift"] < 0.5


def test_agreement_is_that_of_areas_not_of_pixels():
    smooth = torch.linspace(0, 1, 56).expand(56, 56)
    rough = smooth + 0.2 * torch.rand(56, 56, generator=torch.Generator().manual_seed(0))
    found = evidence.agreement({"a": smooth, "b": rough, "c": -smooth})
    assert found["a"]["b"] > 0.9
    assert found["a"]["c"] < -0.99
    assert set(found["b"]) == {"a", "c"}


def test_more_areas_than_are_held_at_once_are_all_hidden():
    x = torch.arange(1.0, 17).reshape(1, 1, 4, 4)
    masks = (torch.arange(70)[:, None, None] % 16) == torch.arange(16).reshape(4, 4)
    after = evidence.hidden(lambda y: y.flatten(1), x, masks, {"nothing": torch.zeros(1, 4, 4)})
    assert torch.equal(after["nothing"], x.flatten(1).where(~masks.flatten(1), torch.zeros(())))


def test_the_noise_of_stability_is_a_share_of_the_pictures_range():
    seen, x = [], 100 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    evidence.stability(lambda y: (seen.append(y), y[:, 0])[1], x, x[:, 0])
    added = min((one - x).std().item() for one in seen)
    assert added == pytest.approx(2, rel=0.1)
