"""Scenes and grids: what is said about a picture is true of its pixels."""

import numpy as np
import pytest
import torch
from PIL import Image

import xai_lab
from xai_lab.data import grids
from xai_lab.data.scenes import BACKGROUNDS, COLOURS, SHAPES, TEXTURES, Scenes, scenes

TENSORS = ["images", "labels", "masks", "texture_masks", "cue_masks", "second_masks"]
ALL = {"background_bias": 0.5, "watermark": 0.7, "watermark_elsewhere": 0.4, "second": 0.5}


def same(a: Scenes, b: Scenes) -> bool:
    return (
        all(torch.equal(getattr(a, name), getattr(b, name)) for name in TENSORS)
        and a.captions == b.captions
        and all(torch.equal(a.factors[k], b.factors[k]) for k in a.factors)
    )


def shares(picture: Scenes, name: str) -> torch.Tensor:
    return getattr(picture, name).float().mean(dim=(1, 2))


def test_shapes_and_types_are_those_of_the_docstring():
    got = scenes(3, size=70, **ALL)
    assert got.images.shape == (3, 3, 70, 70)
    assert got.images.dtype == torch.float32
    assert got.images.min() >= 0
    assert got.images.max() <= 1
    for name in [*TENSORS[2:], "background_masks"]:
        assert getattr(got, name).shape == (3, 70, 70)
        assert getattr(got, name).dtype == torch.bool
    assert all(len(values) == 3 for values in got.factors.values())
    assert len(SHAPES) == len(BACKGROUNDS) >= 6


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others():
    assert same(scenes(4, seed=7, **ALL), scenes(4, seed=7, **ALL))
    assert not torch.equal(scenes(4, seed=7).images, scenes(4, seed=8).images)


def test_fewer_pictures_are_the_beginning_of_more(monkeypatch):
    # 100 pictures of 64 pixels are more than one chunk.
    many, few = scenes(100, seed=3, **ALL), scenes(70, seed=3, **ALL)
    assert same(few, many[:70])
    assert len(many[10:12]) == 2


def test_the_global_random_state_is_left_alone():
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    scenes(2, seed=1)
    grids.scene_grids(1)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpys).all()


def test_a_scene_is_the_same_at_every_size():
    small, large = scenes(12, seed=2, **ALL), scenes(12, seed=2, size=192, **ALL)
    assert small.captions == large.captions
    shrunk = torch.nn.functional.interpolate(large.images, 64, mode="area")
    assert (shrunk - small.images).abs().mean() < 0.04
    for name in ("masks", "second_masks", "cue_masks", "texture_masks"):
        assert (shares(small, name) - shares(large, name)).abs().max() < 0.01


def test_another_colour_changes_the_object_and_its_rim_only():
    red, blue = scenes(24, seed=4, colour="red"), scenes(24, seed=4, colour="blue")
    changed = (red.images != blue.images).any(dim=1)
    # The rim is one pixel wide, and at a thin tip no pixel beneath it need be half covered.
    grown = torch.nn.functional.max_pool2d(red.masks.float()[:, None], 5, 1, 2)[:, 0].bool()
    assert not (changed & ~grown).any()
    assert changed[red.masks].all()
    assert torch.equal(red.masks, blue.masks)


def test_another_background_leaves_the_inside_of_the_object():
    sand, snow = scenes(24, seed=4, background="sand"), scenes(24, seed=4, background="snow")
    changed = (sand.images != snow.images).any(dim=1)
    inside = -torch.nn.functional.max_pool2d(-sand.masks.float()[:, None], 3, 1, 1)[:, 0]
    assert not (changed & inside.bool()).any()
    assert changed[sand.background_masks].float().mean() > 0.99


def test_another_texture_changes_the_dark_parts_most():
    plain, dotted = scenes(24, seed=4, texture="plain"), scenes(24, seed=4, texture="dotted")
    darker = (plain.images - dotted.images).amax(dim=1)
    assert not plain.texture_masks.any()
    assert not (dotted.texture_masks & ~dotted.masks).any()
    light = dotted.masks & ~dotted.texture_masks
    assert darker[dotted.texture_masks].mean() > 6 * darker[light].mean()
    share = dotted.texture_masks.sum() / dotted.masks.sum()
    assert 0.2 < share < 0.5


def test_a_watermark_changes_its_mask_only():
    none, marked = scenes(24, seed=4), scenes(24, seed=4, watermark=1, watermark_elsewhere=1)
    changed = (none.images != marked.images).any(dim=1)
    assert torch.equal(changed, marked.cue_masks)
    assert (shares(marked, "cue_masks") == 13 * 7 / 64**2).all()
    assert not none.cue_masks.any()


def test_objects_are_whole_apart_and_large_enough_to_see():
    got = scenes(3000, seed=5, watermark=0.8, watermark_elsewhere=0.8, second=0.5)
    two = got.second_labels >= 0
    for masks in (got.masks, got.second_masks):
        edges = torch.stack([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]])
        assert not edges.any()
    assert not (got.masks & got.second_masks).any()
    assert not (got.cue_masks & ~got.background_masks).any()
    assert torch.equal(shares(got, "second_masks") > 0, two)
    assert 0.065 < shares(got, "masks")[~two].min() < shares(got, "masks")[~two].max() < 0.205
    assert shares(got, "masks")[two].min() > 0.045
    assert (got.second_labels[two] != got.labels[two]).all()


def test_place_and_size_are_those_of_the_mask():
    got = scenes(60, seed=6, size=128)
    axis = (torch.arange(128) + 0.5) / 128
    area = got.masks.sum(dim=(1, 2))
    x = (got.masks * axis).sum(dim=(1, 2)) / area
    y = (got.masks * axis[:, None]).sum(dim=(1, 2)) / area
    assert (x - got.factors["x"]).abs().max() < 0.01
    assert (y - got.factors["y"]).abs().max() < 0.01
    assert (area / 128**2 / (torch.pi * got.factors["radius"] ** 2) - 1).abs().max() < 0.03


def test_size_does_not_give_the_class_away():
    got = scenes(3000, seed=7)
    means = torch.stack([shares(got, "masks")[got.labels == c].mean() for c in range(len(SHAPES))])
    assert means.max() / means.min() < 1.05


def test_captions_say_the_factors():
    got = scenes(40, seed=8, second=0.5)
    for i, caption in enumerate(got.captions):
        f = {name: int(values[i]) for name, values in got.factors.items()}
        first = f"a {TEXTURES[f['texture']]} {COLOURS[f['colour']]} {SHAPES[f['shape']]} "
        assert caption.startswith(first)
        assert caption.endswith(f" on {BACKGROUNDS[f['background']]}")
        second = int(got.second_labels[i])
        assert (" and a " in caption) == (second >= 0)
        assert second < 0 or f" {SHAPES[second]} on " in caption
    assert torch.equal(got.factors["shape"], got.labels)


@pytest.mark.parametrize(("bias", "expected"), [(0, 1 / 6), (0.6, 0.6 + 0.4 / 6), (1, 1)])
def test_the_background_gives_the_class_away_as_often_as_asked(bias, expected):
    f = scenes(3000, seed=9, background_bias=bias).factors
    assert abs((f["background"] == f["shape"]).float().mean() - expected) < 0.03


def test_factors_are_independent_and_even():
    f = scenes(6000, seed=10).factors
    for a, b in [("shape", "background"), ("shape", "texture"), ("shape", "colour")]:
        joint = torch.bincount(f[a] * 6 + f[b], minlength=36).view(6, 6).float()
        joint = joint[:, joint.sum(dim=0) > 0]
        assert (joint / joint.sum() * joint.numel() - 1).abs().max() < 0.3


def test_watermark_and_second_object_come_as_often_as_asked():
    got = scenes(
        3000, seed=11, watermark=0.9, watermark_elsewhere=0.2, watermark_class=2, second=0.3
    )
    carries, star = got.factors["watermark"].float(), got.labels == 2
    assert abs(carries[star].mean() - 0.9) < 0.05
    assert abs(carries[~star].mean() - 0.2) < 0.05
    assert torch.equal(got.cue_masks.any(dim=2).any(dim=1), carries.bool())
    assert abs((got.second_labels >= 0).float().mean() - 0.3) < 0.03
    others = torch.bincount(
        (got.second_labels - got.labels)[got.second_labels >= 0] % 6, minlength=6
    )
    assert others[0] == 0
    assert others[1:].min() > 0.15 * others.sum()


def test_a_dial_changes_what_it_names_and_nothing_else():
    still, turned = scenes(50, seed=12), scenes(50, seed=12, background_bias=0.7)
    assert torch.equal(still.masks, turned.masks)
    for name in set(still.factors) - {"background"}:
        assert torch.equal(still.factors[name], turned.factors[name])
    starred = scenes(50, seed=12, shape="star")
    assert (starred.labels == 2).all()
    for name in ("texture", "colour", "background", "radius", "angle"):
        assert torch.equal(still.factors[name], starred.factors[name])


def test_a_factor_is_fixed_by_name_index_list_or_tensor():
    by_name = scenes(3, seed=1, shape=["star", "drop", "star"], background="snow")
    by_index = scenes(3, seed=1, shape=torch.tensor([2, 5, 2]), background=np.int64(2))
    assert same(by_name, by_index)


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"n": 0}, ValueError, "n is 0, expected at least 1"),
        ({"size": 32}, ValueError, "size is 32, expected at least 64"),
        ({"size": 64.0}, TypeError, "size is 64.0, expected a whole number"),
        ({"seed": -1}, ValueError, "seed is -1, expected at least 0"),
        ({"background_bias": 1.2}, ValueError, "background_bias is 1.2, expected a probability"),
        ({"watermark": float("nan")}, ValueError, "watermark is nan, expected a probability"),
        ({"second": "often"}, ValueError, "second is 'often', expected a probability"),
        ({"shape": "disc"}, ValueError, "no shape 'disc': give one of pentagon, hexagon"),
        ({"texture": 4}, ValueError, "no texture 4: .* index, 0 to 3"),
        ({"colour": 1.0}, ValueError, "no colour 1.0"),
        ({"background": [0, 1]}, ValueError, "background has 2 values for 5 pictures"),
        ({"watermark_class": "horse"}, ValueError, "no shape 'horse'"),
    ],
)
def test_impossible_dials_are_said(wrong, error, sentence):
    with pytest.raises(error, match=sentence):
        scenes(**{"n": 5, **wrong})


def test_one_scene_is_a_slice():
    with pytest.raises(TypeError, match="such as scenes"):
        scenes(2)[0]


def test_each_cell_of_a_grid_holds_its_class():
    got = grids.scene_grids(3, cells=4, seed=2)
    assert got.images.shape == (3, 3, 128, 128)
    assert all(len(set(row)) == 4 for row in got.labels.tolist())
    single = scenes(12, seed=2, shape=got.labels.flatten())
    assert torch.equal(got.images[1, :, :64, 64:], single.images[5])
    assert torch.equal(got.images[1, :, 64:, :64], single.images[6])
    assert torch.equal(got.masks[1, 2, 64:, :64], single.masks[6])
    assert not (got.masks & ~got.cells).any()
    assert torch.equal(got.cells.sum(dim=0), torch.ones(128, 128, dtype=torch.long))


def test_two_cells_stand_side_by_side():
    got = grids.scene_grids(2, cells=2, background_bias=1.0)
    assert got.images.shape == (2, 3, 64, 128)
    assert got.cells[0, :, :64].all()
    assert not got.cells[0, :, 64:].any()


@pytest.mark.parametrize("cells", [2, 4])
def test_cells_of_a_photo_grid_stay_where_they_are_after_preprocessing(cells, lite0):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)][:cells]
    picture = grids.photo_grid([Image.new("RGB", (300, 200), c) for c in colours])
    seen = lite0.pixels(lite0.preprocess(picture))[0]
    where = grids.cell_masks(cells, *seen.shape[-2:])
    for mask, colour in zip(where, colours, strict=True):
        far = (seen - torch.tensor(colour)[:, None, None] / 255).abs().amax(dim=0) > 0.5
        assert not (far & mask).any()


def test_two_photos_are_those_of_side_by_side():
    both = xai_lab.data.side_by_side("cat", "coffee")
    assert grids.photo_grid(["cat", "coffee"]).tobytes() == both.tobytes()


@pytest.mark.parametrize("cells", [0, 1, 3, 5])
def test_a_grid_of_another_number_of_cells_is_refused(cells):
    with pytest.raises(ValueError, match=f"a grid has 2 or 4 cells, got {cells}"):
        grids.scene_grids(1, cells=cells)
    with pytest.raises(ValueError, match="2 or 4 cells"):
        grids.photo_grid(["cat"] * cells)
    with pytest.raises(ValueError, match="n is 0"):
        grids.scene_grids(0)


def test_scenes_move_to_a_device_whole():
    made = scenes(2, seed=0)
    moved = made.to("meta")
    kinds = {name for name, value in vars(moved).items() if isinstance(value, torch.Tensor)}
    assert {getattr(moved, name).device.type for name in kinds} == {"meta"}
    assert made.images.device.type == "cpu"
    assert moved.captions == made.captions
