"""Counterfactual pictures: what is hidden is gone, what is not stays as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_lab import edits
from xai_lab.data.scenes import scenes
from xai_lab.edits import FILLS, keep_only, occlude, outline, paste_cue, swap_background, variations

MEAN = torch.tensor([0.4, 0.5, 0.6])[:, None, None]
STD = torch.tensor([0.2, 0.3, 0.25])[:, None, None]


@pytest.fixture(scope="module")
def some():
    return scenes(6, seed=5, background=[0, 1, 2, 3, 4, 5])


def unit(seed=0, n=2, side=16):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


def square(side=16):
    mask = torch.zeros(side, side, dtype=torch.bool)
    mask[4:9, 5:12] = True
    return mask


@pytest.mark.parametrize("fill", FILLS)
def test_what_is_visible_stays_to_the_bit_and_what_is_hidden_goes(fill):
    x, mask = unit(), square()
    before = x.clone()
    seen = occlude(x, mask, fill)
    assert torch.equal(x, before)
    assert torch.equal(seen[..., ~mask], x[..., ~mask])
    assert (seen[..., mask] != x[..., mask]).all()
    assert torch.equal(keep_only(x, ~mask, fill), seen)


@pytest.mark.parametrize("fill", ["mean", "inpaint"])
def test_two_fills_know_nothing_of_what_they_hide(fill):
    x, mask = unit(), square()
    other = torch.where(mask, unit(seed=9), x)
    assert torch.equal(occlude(x, mask, fill), occlude(other, mask, fill))


@pytest.mark.parametrize("fill", FILLS)
def test_edits_commute_with_normalising(fill):
    x, mask = unit(), square()
    seen = occlude((x - MEAN) / STD, mask, fill) * STD + MEAN
    torch.testing.assert_close(seen, occlude(x, mask, fill))


@pytest.mark.parametrize("fill", FILLS)
def test_a_flat_picture_is_filled_with_its_own_colour(fill):
    flat = torch.tensor([0.1, 0.5, 0.9])[:, None, None].expand(1, 3, 17, 23)
    mask = torch.zeros(17, 23, dtype=torch.bool)
    mask[3:14, 2:20] = True
    torch.testing.assert_close(occlude(flat, mask, fill), flat)


def test_the_mean_is_that_of_what_stays_visible():
    x, mask = torch.zeros(1, 1, 4, 4), torch.zeros(4, 4, dtype=torch.bool)
    mask[:2] = True
    x[..., 0, :] = 100.0
    x[..., 2, :] = 1.0
    assert occlude(x, mask, "mean")[0, 0, 0].tolist() == [0.5] * 4


def test_inpainting_runs_from_one_rim_to_the_other():
    x, mask = torch.zeros(1, 1, 32, 32), torch.zeros(32, 32, dtype=torch.bool)
    x[..., 16:] = 1.0
    mask[:, 8:24] = True
    row = occlude(x, mask, "inpaint")[0, 0, 16]
    assert (row.diff() >= -1e-6).all()
    assert 0.3 < row[15] < 0.7
    assert row.diff().max() < 0.3, "no edge is left"


def test_a_mask_of_nothing_changes_nothing(some):
    nothing = torch.zeros_like(some.masks)
    for fill in FILLS:
        assert torch.equal(occlude(some.images, nothing, fill), some.images)


@settings(max_examples=25, deadline=None)
@given(h=st.integers(1, 19), w=st.integers(1, 19), seed=st.integers(0, 99))
def test_every_size_and_mask_is_filled_within_the_pictures_range(h, w, seed):
    g = torch.Generator().manual_seed(seed)
    x, mask = torch.rand(2, 3, h, w, generator=g), torch.rand(2, h, w, generator=g) < 0.7
    mask[:, 0, 0] = False
    for fill in FILLS:
        seen = occlude(x, mask, fill)
        assert seen.min() >= x.min() - 1e-5
        assert seen.max() <= x.max() + 1e-5


def test_each_picture_is_edited_as_if_alone(some):
    for fill in FILLS:
        alone = [
            occlude(some.images[i : i + 1], some.masks[i : i + 1], fill) for i in range(len(some))
        ]
        torch.testing.assert_close(occlude(some.images, some.masks, fill), torch.cat(alone))


def test_a_fill_can_be_a_picture_or_a_colour():
    x, mask = unit(), square()
    red = torch.tensor([1.0, 0, 0])[:, None, None]
    assert torch.equal(occlude(x, mask, red)[0, :, 5, 6], red[:, 0, 0])
    assert torch.equal(occlude(x, mask, x.flip(0))[0][:, mask], x[1][:, mask])


def test_objects_keep_their_pixels_before_another_background(some):
    swapped = swap_background(some.images, some.masks)
    m = some.masks[:, None].expand_as(swapped)
    assert torch.equal(swapped[m], some.images[m])
    free = ~(some.masks[0] | some.masks[1])
    assert torch.equal(swapped[0][:, free], some.images[1][:, free])
    assert torch.equal(
        swap_background(some.images, some.masks, MEAN)[0][:, ~some.masks[0]],
        MEAN[:, :, 0].expand(3, (~some.masks[0]).sum()),
    )


def test_without_masks_the_object_is_outlined_first(some):
    masks, _ = outline(some.images)
    assert torch.equal(swap_background(some.images), swap_background(some.images, masks))


def test_outlines_find_the_objects_of_scenes():
    some = scenes(60, seed=8)
    masks, sure = outline(some.images)
    both = (masks & some.masks).sum(dim=(1, 2)) / (masks | some.masks).sum(dim=(1, 2))
    assert both.mean() > 0.8
    assert (sure > edits.SURE).float().mean() > 0.9


def test_an_outline_of_noise_is_not_sure():
    masks, sure = outline(unit(n=3, side=64))
    assert masks.shape == (3, 64, 64)
    assert (sure < edits.SURE).all()
    masks, sure = outline(torch.full((1, 3, 64, 64), 0.5))
    assert sure.item() < edits.SURE
    with pytest.raises(ValueError, match="cannot be told from its background"):
        swap_background(unit(side=64))


def test_outlines_do_not_depend_on_the_normalisation(some):
    masks, sure = outline((some.images - MEAN) / STD)
    assert (masks != outline(some.images)[0]).float().mean() < 0.002
    torch.testing.assert_close(sure, outline(some.images)[1], atol=0.01, rtol=0)


def test_a_cue_lies_where_it_is_put():
    x, cue = torch.zeros(2, 3, 10, 12), torch.ones(3, 2, 4)
    lit = paste_cue(x, cue, "lower right")[0, 0]
    assert lit.sum() == 8
    assert (lit[8:, 8:] == 1).all()
    assert paste_cue(x, cue, "upper left")[0, 0, 0, 0] == 1
    assert (paste_cue(x, cue, (3, 5))[:, :, 3:5, 5:9] == 1).all()
    assert (paste_cue(x, cue, "centre")[:, :, 4:6, 4:8] == 1).all()
    assert not x.any(), "the caller's pictures are left alone"


def test_a_cue_can_be_faint_or_of_any_outline():
    x, mask = unit(), square()
    assert torch.equal(paste_cue(x, x.flip(0), mask), torch.where(mask, x.flip(0), x))
    faint = paste_cue(torch.zeros(1, 3, 4, 4), torch.ones(3, 4, 4), opacity=0.25)
    assert faint.unique().tolist() == [0.25]


def test_a_pasted_watermark_is_the_planted_one():
    plain, marked = scenes(8, seed=3), scenes(8, seed=3, watermark=1, watermark_elsewhere=1)
    pasted = paste_cue(plain.images, marked.images, marked.cue_masks)
    assert torch.equal(pasted, marked.images)


def test_variations_keep_the_size_and_name_what_they_do():
    x = unit(side=20)
    made = variations(x)
    assert all(one.shape == x.shape for one in made.values())
    assert torch.equal(made["flipped"].flip(3), x)
    assert made["darker"].mean() < x.mean() < made["brighter"].mean()
    assert sum(name.endswith("crop") for name in made) == 5
    told = variations((x - MEAN) / STD, normalisation=(MEAN.flatten(), STD.flatten()))
    for name, one in told.items():
        torch.testing.assert_close(one * STD + MEAN, made[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x, m: occlude(x, m.float()), TypeError, "masks > 0.5"),
        (lambda x, m: occlude(x, m[:5]), ValueError, "one for each picture"),
        (lambda x, m: occlude(x[0], m), ValueError, "batch of one"),
        (lambda x, m: occlude(x, m, "grey"), ValueError, "there are mean, blur, inpaint"),
        (lambda x, m: occlude(x, m, torch.rand(7, 7)), ValueError, "spreads to the pictures"),
        (lambda x, m: occlude(x, torch.ones_like(m), "mean"), ValueError, "hides the whole"),
        (lambda x, m: occlude(x, torch.ones_like(m), "inpaint"), ValueError, "hides the whole"),
        (lambda x, m: swap_background(x[:1], m), ValueError, "no other picture"),
        (lambda x, m: paste_cue(x, x[0, :, :5, :5], (14, 0)), ValueError, "reaches out"),
        (lambda x, m: paste_cue(x, x[0, :, :5, :5], "left"), ValueError, "no place 'left'"),
        (lambda x, m: paste_cue(x, x[0, :2]), ValueError, r"expected \(3, h, w\)"),
        (lambda x, m: paste_cue(x, x[0], opacity=1.5), ValueError, "between 0 and 1"),
    ],
)
def test_bad_input_is_told_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call(unit(), square())
