"""Short cuts: those that were planted are found, on the honest network none is claimed."""

import dataclasses
import json
import os
import struct
import sys
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from xai_lab import find_shortcuts, load, parts, pictures, shortcuts
from xai_lab.data.scenes import SHAPES, scenes
from xai_lab.faithfulness import grown
from xai_lab.interpret import grad_cam_map
from xai_lab.plot.evidence import contact_sheet
from xai_lab.shortcuts import Trial, judged
from xai_lab.survey import laplacian, members_of, spectral_clusters, survey

N = 96


@pytest.fixture(scope="module")
def biased():
    return scenes(N, seed=41, background_bias=0.95)


@pytest.fixture(scope="module")
def found(background, biased):
    return find_shortcuts(background, biased, groups=2, batch_size=16)


def same(a, b):
    """Whether two results say the same, to the last picture and count."""
    assert [one.label for one in a.clusters] == [one.label for one in b.clusters]
    for one, other in zip(a.clusters, b.clusters, strict=True):
        assert one.members == other.members
        assert one.trials == other.trials
        assert (one.verdict, one.reason) == (other.verdict, other.reason)
        np.testing.assert_allclose(one.map, other.map, atol=1e-4)
    assert (a.summary, a.broken, a.accuracy) == (b.summary, b.broken, b.accuracy)


def test_the_planted_background_is_found_for_every_class(found):
    tested = [one for one in found.clusters if one.verdict != "undecided"]
    assert {one.label for one in tested} == set(SHAPES)
    assert {one.verdict for one in tested} == {"short cut: background"}
    assert all(one.inside < one.chance for one in tested)
    assert "Short cuts confirmed" in found.summary
    assert found.summary.count("the background decides") == 1, "one sentence for all its groups"


def test_the_planted_watermark_is_found_for_its_class_alone(watermark):
    some = scenes(N, seed=42, watermark=1)
    result = find_shortcuts(watermark, some, groups=1, batch_size=16)
    assert [one.label for one in result.found] == ["pentagon"]
    cue = result.clusters[0]
    assert cue.verdict == "short cut: cue"
    assert cue is result.found[0], "the planted cue ranks first"
    rim = cue.map.sum() - cue.map[2:-2, 2:-2].sum()
    assert rim > 0.7, "a watermark is in a corner"


@pytest.mark.parametrize(("seed", "bias"), [(1, {"background_bias": 0.95}), (2, {"watermark": 1})])
def test_on_the_honest_network_no_short_cut_is_claimed(honest, seed, bias):
    result = find_shortcuts(honest, scenes(N, seed=seed, **bias), groups=2, batch_size=16)
    assert result.found == ()
    assert "No short cut was confirmed" in result.summary
    assert not any(one.verdict == "suspected" for one in result.clusters)


def test_without_masks_the_objects_are_outlined(background, biased):
    result = find_shortcuts(background, (biased.images, biased.labels), groups=1, batch_size=16)
    assert {one.label for one in result.found} == set(SHAPES)


def test_the_result_does_not_depend_on_batch_size_or_chunk(background, biased, found):
    same(found, find_shortcuts(background, biased, groups=2, batch_size=5, chunk=17))


def test_the_result_does_not_depend_on_the_order_of_the_pictures(background, biased, found):
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    mixed = (biased.images[order], biased.labels[order], biased.masks[order])
    result = find_shortcuts(background, mixed, groups=2, batch_size=16)
    assert len(result.clusters) == len(found.clusters)
    for one, other in zip(result.clusters, found.clusters, strict=True):
        names = [f"picture {order[int(name.split()[1])]}" for name in one.members]
        assert names == list(other.members)
        assert (one.trials, one.verdict) == (other.trials, other.verdict)


def test_the_result_does_not_depend_on_who_does_the_work(background, biased, found):
    same(found, find_shortcuts(background, biased, groups=2, batch_size=16, jobs=2))
    with joblib.parallel_config(backend="threading", n_jobs=3):
        same(found, find_shortcuts(background, biased, groups=2, batch_size=16))


def test_a_scheduler_without_dask_is_told_in_words(background, biased, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match="pip install distributed"):
        find_shortcuts(background, biased, scheduler="tcp://127.0.0.1:8786")


def test_a_scheduler_is_handed_to_joblib(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", sys)
    asked = []
    monkeypatch.setattr(joblib, "parallel_config", lambda **options: asked.append(options))
    client = object()
    parts.backend("tcp://host:1")
    parts.backend(client)
    assert asked == [
        {"backend": "dask", "scheduler_host": "tcp://host:1"},
        {"backend": "dask", "client": client},
    ]


class Counted:
    """Data set that counts what is read, and may break off."""

    def __init__(self, some, stop=None, error=KeyboardInterrupt):
        self.pictures, self.stop, self.error, self.read = some, stop, error, []

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, i):
        if i == self.stop:
            raise self.error
        self.read.append(i)
        some = self.pictures
        return some.images[i], int(some.labels[i]), some.masks[i]


def test_a_run_that_broke_off_goes_on_where_it_was(background, biased, found, tmp_path):
    options = {"groups": 2, "batch_size": 16, "chunk": 16, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        find_shortcuts(background, Counted(biased, stop=50), **options)
    done = sorted(path.name for path in tmp_path.glob("part-*.npz"))
    assert done == ["part-00000.npz", "part-00001.npz", "part-00002.npz"]
    assert not list(tmp_path.glob(".*")), "nothing half-written is left"
    rest = Counted(biased)
    result = find_shortcuts(background, rest, **options)
    assert rest.read[:6] == [0, 15, 16, 31, 32, 47], "of what was done, only a sample is read"
    assert min(rest.read[6:54]) == 48, "what was done is not done again"
    same(result, found)
    again = Counted(biased)
    same(find_shortcuts(background, again, **options), found)
    assert len(again.read) < N, "only the pictures that are shown"


def test_a_damaged_part_is_done_again(background, biased, found, tmp_path):
    options = {"groups": 2, "batch_size": 16, "chunk": 32, "folder": tmp_path}
    find_shortcuts(background, biased, **options)
    (tmp_path / "part-00001.npz").write_bytes(b"half")
    (tmp_path / "tests-00000.npz").write_bytes(b"")
    same(find_shortcuts(background, biased, **options), found)


def test_parts_of_another_run_are_not_taken(background, watermark, biased, tmp_path):
    some = biased[:20]
    find_shortcuts(background, some, folder=tmp_path)
    for model, data, options in (
        (watermark, some, {}),
        (background, biased[1:21], {}),
        (background, some, {"cells": 6}),
    ):
        with pytest.raises(ValueError, match="another run"):
            find_shortcuts(model, data, folder=tmp_path, **options)
    find_shortcuts(background, some, folder=tmp_path)


class Listed(list):
    """Data set that can only be read picture by picture."""


def items(some):
    return Listed(zip(some.images, some.labels.tolist(), some.masks, strict=True))


def test_parts_of_another_sequence_are_not_taken(background, biased, tmp_path):
    some = items(biased[:20])
    find_shortcuts(background, some, folder=tmp_path)
    label = (some[-1][0], (some[-1][1] + 1) % 6, some[-1][2])
    mask = (*some[-1][:2], ~some[-1][2])
    gone = (None, 0)
    for last in (biased.images[30], 0), label, mask, gone:
        with pytest.raises(ValueError, match="another run"):
            find_shortcuts(background, Listed([*some[:-1], last]), folder=tmp_path)
        with pytest.raises(ValueError, match="another run"):
            find_shortcuts(background, Listed([last, *some[1:]]), folder=tmp_path)
    find_shortcuts(background, some, folder=tmp_path)


def test_files_that_changed_are_another_run(background, photos, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept")
    find_shortcuts(background, photos, groups=1, folder=kept)
    find_shortcuts(background, photos, groups=1, folder=kept)
    file = sorted(photos.glob("star/[0-9]*.png"))[1]
    before = file.stat()
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    with pytest.raises(ValueError, match="another run"):
        find_shortcuts(background, photos, groups=1, folder=kept)


def test_runs_with_another_method_are_told_apart():
    def mark(method):
        return json.dumps(parts.function_mark(method))

    assert mark(grad_cam_map) == mark(grad_cam_map)
    assert mark(lambda m, x, t: x * 2) == mark(lambda m, x, t: x * 2), "wherever it was written"
    different = [
        grad_cam_map,
        lambda m, x, t: x * 2,
        lambda m, x, t: x * 3,
        lambda m, x, t: x + 2,
        lambda m, x, t: x.abs(),
        lambda m, x, t: x.exp(),
        partial(grad_cam_map, target=1),
        partial(grad_cam_map, target=2),
        Counted([]),
    ]
    assert len({mark(method) for method in different}) == len(different)


def test_a_folder_that_cannot_be_written_to_is_told_in_words(background, biased, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="cannot be written to"):
        find_shortcuts(background, biased[:10], folder=tmp_path / "file")


# --------------------------------------------------------------------------------- folders, files


@pytest.fixture
def photos(tmp_path):
    """Folder of class folders, with broken files among good ones."""
    some = scenes(36, seed=5, background_bias=1)
    for i, (image, label) in enumerate(zip(some.images, some.labels.tolist(), strict=True)):
        place = tmp_path / SHAPES[label]
        place.mkdir(exist_ok=True)
        pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(place / f"{i:02d}.png")
    (tmp_path / "star" / "<b>cut.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    (tmp_path / "star" / "notes.txt").write_text("not a picture")
    (tmp_path / "star" / ".hidden").write_text("never read")
    return tmp_path


def test_broken_files_are_listed_skipped_and_counted(background, photos):
    result = find_shortcuts(background, photos, groups=1, batch_size=16)
    assert set(result.broken) == {"star/<b>cut.png", "star/notes.txt"}
    assert result.count == 36
    assert "2 could not be read" in result.summary
    assert sum(len(one.members) for one in result.clusters) == 36
    page = result.html()
    assert "<b>" not in page
    assert "star/&lt;b&gt;cut.png" in page
    assert "<script" not in page
    assert page.count("<table") == page.count("</table>") == 3


def test_folders_are_as_good_as_tensors(background, photos):
    paths = sorted(photos.glob("*/[0-9]*.png"))
    images = torch.cat([background.preprocess(path) for path in paths])
    labels = torch.tensor([SHAPES.index(path.parent.name) for path in paths])
    one = find_shortcuts(background, photos, groups=1, batch_size=16)
    two = find_shortcuts(background, (images, labels), groups=1, batch_size=16)
    names = [path.relative_to(photos).as_posix() for path in paths]
    for a, b in zip(one.clusters, two.clusters, strict=True):
        assert list(a.members) == [names[int(name.split()[1])] for name in b.members]
        assert a.trials == b.trials


def test_a_class_folder_that_the_model_has_no_class_for_is_refused(background, photos):
    (photos / "pentagram").mkdir()
    with pytest.raises(ValueError, match=r"'pentagram' is none of the classes.*near it: pentagon"):
        find_shortcuts(background, photos)


def test_a_folder_without_permission_is_told_in_words(background, photos, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(ValueError, match="may not be read by you"):
        find_shortcuts(background, photos)


def test_data_sets_of_nothing_are_refused(background, tmp_path):
    with pytest.raises(ValueError, match="data set is empty"):
        find_shortcuts(background, tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        find_shortcuts(background, tmp_path / "none")
    with pytest.raises(ValueError, match="data set is empty"):
        find_shortcuts(background, (torch.zeros(0, 3, 64, 64), torch.zeros(0, dtype=torch.long)))
    with pytest.raises(ValueError, match=r"none of the 3 pictures could be read. picture 0: .*NaN"):
        find_shortcuts(background, (torch.full((3, 3, 64, 64), torch.nan), torch.zeros(3).long()))
    with pytest.raises(ValueError, match=r"lengths \[2, 3\]"):
        find_shortcuts(background, (torch.rand(3, 3, 64, 64), torch.zeros(2).long()))
    with pytest.raises(TypeError, match="expected a folder"):
        find_shortcuts(background, 7)
    with pytest.raises(ValueError, match="needs a model from"):
        find_shortcuts(background.model, tmp_path)


def test_items_that_are_no_pictures_are_told_at_once(background, photos):
    picture = Image.new("RGB", (64, 64))
    for item, told in [
        (picture, r"item 0 of the data set is of type PIL.*Image"),
        ({"image": 1, "label": 2}, r"is of type builtins.dict, expected \(image, label\)"),
        ((picture, 1), r"picture of item 0 is of type PIL.*give the data set a transform"),
        ((torch.zeros(64, 64), 1), r"a float32 tensor \(64, 64\), expected a float"),
        ((torch.zeros(3, 64, 64).byte(), 1), r"a uint8 tensor \(3, 64, 64\), expected a float"),
    ]:
        with pytest.raises(TypeError, match=told):
            find_shortcuts(background, Listed([item] * 9))
    with pytest.raises(TypeError, match="give the data set a transform"):
        find_shortcuts(background.model, ImageFolder(photos))


def test_a_torchvision_folder_is_as_good_as_ours(background, photos):
    (photos / "star" / "<b>cut.png").unlink()
    folder = ImageFolder(photos, transform=background.transform)
    with pytest.raises(ValueError, match="numbers its classes drop, flower, heart"):
        find_shortcuts(background, folder)
    net = load("scenes-cnn-background", device="cpu").model
    ours = [SHAPES.index(name) for name in folder.classes]
    with torch.no_grad():
        net.classifier.weight.copy_(net.classifier.weight[ours])
        net.classifier.bias.copy_(net.classifier.bias[ours])
    one = find_shortcuts(net, folder, labels=folder.classes, groups=1)
    two = find_shortcuts(background, photos, groups=1)
    assert one.count == two.count == 36
    assert {a.label: len(a.members) for a in one.clusters} == {
        b.label: len(b.members) for b in two.clusters
    }
    assert one.accuracy == two.accuracy


def test_whatever_breaks_as_a_picture_is_read_is_listed(background, biased):
    class Odd(Listed):
        def __getitem__(self, i):
            if i == 1:
                raise struct.error("unpack requires 4 bytes")
            if i == 2:
                raise KeyError
            return super().__getitem__(i)

    odd = Odd([*items(biased[:4]), (None, 0)])
    result = find_shortcuts(background, odd)
    assert result.broken == {
        "picture 1": "unpack requires 4 bytes",
        "picture 2": "KeyError",
        "picture 4": "there is no picture",
    }
    assert result.count == 2


def test_pictures_of_several_sizes_are_refused(background, biased):
    mixed = Listed([(torch.rand(3, 64, 64), 0), (torch.rand(3, 64, 80), 1)])
    with pytest.raises(ValueError, match=r"shapes \(3, 64, 64\), \(3, 64, 80\), expected one"):
        find_shortcuts(background, mixed)


def test_one_picture_is_undecided(background, biased):
    result = find_shortcuts(background, biased[:1])
    (one,) = result.clusters
    assert (one.verdict, len(one.members)) == ("undecided", 1)
    assert "too few" in one.reason
    json.dumps(result.to_dict(), allow_nan=False)
    assert "No short cut" in result.html()


def test_a_data_set_of_one_class_has_nothing_to_compare_with(background):
    result = find_shortcuts(background, scenes(20, seed=1, shape="star", background="snow"))
    assert result.found == ()
    assert all("no pictures of another class" in one.reason for one in result.clusters)


def test_pictures_without_an_outline_are_undecided(background):
    noise = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    result = find_shortcuts(background, (noise, torch.zeros(12).long()))
    large = [one for one in result.clusters if len(one.members) >= 6]
    assert large
    assert all("give masks" in one.reason for one in large)
    json.dumps(result.to_dict(), allow_nan=False)


# ----------------------------------------------------------------------------- parts by themselves


def test_a_result_is_plain_data(found):
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert said["count"] == N
    assert sum(len(one["members"]) for one in said["clusters"]) == N
    assert set(said["clusters"][0]["trials"]) == set(shortcuts.TRIALS)
    assert len(found.table().splitlines()) == 2 + len(found.clusters)


def test_nothing_of_the_model_is_changed(biased):
    model = load("scenes-cnn", device="cpu").model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    find_shortcuts(model, biased[:12])
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def blobs(n, places, seed=0):
    draw = np.random.default_rng(seed)
    maps = 0.01 * draw.random((n * len(places), 8, 8))
    for k, (y, x) in enumerate(places):
        maps[k * n : (k + 1) * n, y : y + 2, x : x + 2] += 1 + 0.2 * draw.random((n, 2, 2))
    return maps / maps.sum(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("places", [[(0, 0), (6, 6)], [(0, 0), (0, 6), (6, 3)]])
def test_maps_that_look_at_different_places_are_told_apart(places):
    found = spectral_clusters(blobs(20, places))
    assert len(set(found)) == len(places)
    for k in range(len(places)):
        assert len(set(found[20 * k : 20 * (k + 1)])) == 1


def test_maps_that_look_alike_or_are_few_are_one_cluster():
    assert set(spectral_clusters(blobs(20, [(2, 2)]))) == {0}
    assert set(spectral_clusters(blobs(5, [(0, 0), (6, 6)]))) == {0}
    assert set(spectral_clusters(blobs(20, [(0, 0), (6, 6)]), most=1)) == {0}
    assert len(spectral_clusters(np.zeros((20, 8, 8)))) == 20, "empty maps as well"


def test_groups_are_of_one_class_and_the_largest_comes_first():
    maps = np.concatenate([blobs(14, [(0, 0)]), blobs(30, [(6, 6)]), blobs(20, [(3, 3)])])
    table = {"said": np.array([1] * 44 + [2] * 20), "map": maps}
    first, second = members_of(table, 1, 4)
    assert first.tolist() == list(range(14, 44))
    assert second.tolist() == list(range(14))
    (third,) = members_of(table, 2, 4)
    assert third.tolist() == list(range(44, 64))


def test_the_laplacian_is_that_of_the_nearest_neighbours():
    points = np.random.default_rng(0).normal(size=(40, 3))
    L = laplacian(points)
    joined = (L != 0) & ~np.eye(40, dtype=bool)
    degree = joined.sum(axis=1)
    np.testing.assert_allclose(L, L.T)
    np.testing.assert_allclose(L @ np.sqrt(degree), 0, atol=1e-12)
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    nearest = distance.argsort(axis=1)[:, 1:10]
    assert all(joined[i, nearest[i]].all() for i in range(40))
    assert joined.sum() <= 2 * nearest.size


def test_equal_maps_are_clustered_without_complaint():
    found = spectral_clusters(np.full((30, 8, 8), 1 / 64))
    assert found.shape == (30,)


def test_partners_are_sure_and_of_the_classes_that_they_have_to_be():
    draw = np.random.default_rng(1)
    n = 80
    table = {
        "index": draw.permutation(n) + 100,
        "sure": draw.choice([0.2, 0.9], n, p=[0.2, 0.8]),
        "said": draw.choice(3, n),
        "label": draw.choice(3, n),
    }
    row_of = {int(i): row for row, i in enumerate(table["index"])}
    rows = np.flatnonzero(table["said"] == 1)[:15]
    tried, why = shortcuts.plan(table, 1, rows, 8, 0)
    assert (len(tried), why) == (8, "")
    lines = np.vectorize(row_of.get)(tried)
    assert (table["sure"][lines] == 0.9).all()
    assert set(lines[:, 0]) <= set(rows)
    assert len(set(lines[:, 0])) == 8
    assert (table["said"][lines[:, 1]] == 1).all()
    assert (table["said"][lines[:, 2:]] != 1).all()
    assert (table["label"][lines[:, 2:]] != 1).all()
    assert (lines[:, 0] != lines[:, 1]).all()
    assert (lines[:, 2] != lines[:, 3]).all()
    some = [shortcuts.plan(table, 1, rows, 8, seed)[0].tolist() for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2]


class Rule(torch.nn.Module):
    """Network that says class 1 where a rule about the pictures holds."""

    def __init__(self, rule):
        super().__init__()
        self.rule = rule

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), 2.0 * self.rule(x) - 1], dim=1)


def tried_on(rule, where, red=False, bright=False, others=None):
    """Counts of the trials on 8 pictures of class 1 and 16 others; a map marks one place."""
    draw = torch.Generator().manual_seed(0)
    images = 0.3 + 0.1 * torch.rand(32, 3, 32, 32, generator=draw)
    masks = torch.zeros(32, 32, 32, dtype=torch.bool)
    masks[:, 12:20, 12:20] = True
    if others is not None:
        masks[16:] = False
        masks[16:, others, others] = True
    # The rim of an object lies outside its mask, as with an outline that is not exact.
    seen = grown(masks, 1)[:, None]
    colour = torch.tensor([0.0, 0.0, 1.0]).expand(32, 3)
    if red:
        colour = torch.where(torch.arange(32)[:, None] < 16, colour.flip(1), colour)
    images = torch.where(seen, colour[:, :, None, None], images)
    if bright:
        images[:16, :, :6, :6] = 1
    place = torch.zeros(32, 32)
    place[where] = 1
    pairs = np.array([[i, 8 + i, 16 + i, 24 + i] for i in range(8)])
    data = pictures.Pictures(pictures.Tensors(images, torch.arange(32) // 16, masks))
    made = shortcuts.counterfactuals(
        Rule(rule), data, lambda m, x, t: place.expand(len(x), -1, -1), 1, pairs,
        {"share": 0.3, "batch_size": None},
    )  # fmt: skip
    return {name: tuple(counts.tolist()) for name, counts in made.items()}


CORNER = (slice(0, 6), slice(0, 6))


def test_each_trial_changes_what_it_says_and_its_control_nothing():
    def is_bright(x):
        return (x[:, 0, :6, :6].mean(dim=(1, 2)) > 0.8).float()

    made = tried_on(is_bright, CORNER, bright=True)
    assert made == dict.fromkeys(shortcuts.TRIALS, (8, 0, 8))


def is_red(x):
    return (x[:, 0] > 0.9).flatten(1).any(dim=1).float()


def test_objects_are_left_alone_by_every_trial():
    nothing = {"leaves": (0, 0, 8), "joins": (0, 0, 8)}
    on_object = (slice(10, 22), slice(10, 22))
    made = tried_on(is_red, on_object, red=True)
    assert made == nothing | {"hide": (0, 0, 8), "paste": (0, 0, 8)}
    made = tried_on(is_red, (slice(0, 9), slice(0, 32)), red=True)
    assert made == nothing | {"hide": (0, 0, 8), "paste": (0, 0, 8)}
    made = tried_on(is_red, (slice(13, 19), slice(13, 19)), red=True)
    assert made["hide"][:2] == made["paste"][:2] == (0, 0)


def test_controls_are_hidden_off_the_object_as_well():
    def is_largely_red(x):
        return ((x[:, 0] > 0.8).flatten(1).sum(dim=1) > 48).float()

    made = tried_on(is_largely_red, (slice(0, 9), slice(0, 32)), red=True)
    assert made["hide"] == (0, 0, 8)


def test_maps_are_made_for_the_answers_of_the_network():
    images = 0.3 * torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images[1::2, 0] += 0.7
    asked = []

    def method(model, x, target):
        asked.extend(target.tolist())
        return x.mean(dim=1)

    data = pictures.Pictures(pictures.Tensors(images, torch.zeros(5, dtype=torch.long)))
    table = survey(Rule(is_red), data, method, {"cells": 4, "batch_size": 2})
    assert asked == table["said"].tolist() == [0, 1, 0, 1, 0]
    assert table["label"].tolist() == [0] * 5
    means = images.mean(dim=1).unfold(1, 8, 8).unfold(2, 8, 8).mean(dim=(3, 4)).numpy()
    means /= means.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(table["map"], means, atol=1e-5)


def test_too_small_a_place_is_not_tried():
    made = tried_on(is_red, (slice(14, 18), slice(14, 18)), red=True)
    assert made["hide"] == made["paste"] == (0, 0, 0)


def test_nothing_is_pasted_over_the_object_of_the_other_picture():
    def no_blue(x):
        return 1 - (x[:, 2] > 0.8).flatten(1).any(dim=1).float()

    made = tried_on(no_blue, CORNER, red=True, others=slice(1, 5))
    assert made["paste"][:2] == (0, 0)


def made_up(label, count):
    return shortcuts.Cluster(
        label=label, members=("a",) * 7, accuracy=0.5, inside=0.1, chance=0.2,
        map=np.eye(4), trials={}, verdict="none found", reason="",
        pictures=np.full((count, 3, 16, 16), 0.5), maps=np.stack([np.eye(4)] * count),
    )  # fmt: skip


def test_the_contact_sheet_takes_long_names_and_says_what_it_leaves_out():
    long = "a very long name of a class, with $signs$ in it, " * 4
    clusters = [made_up(long, 6), made_up("short", 1), *[made_up("more", 2)] * 3]
    figure = contact_sheet(clusters, most=3)
    figure.canvas.draw()
    assert len(figure.axes) == (1 + 6) + (1 + 1) + (1 + 2)
    assert figure.texts[-1].get_text() == "2 weaker groups are not shown"
    pictures = [ax.get_window_extent() for ax in figure.axes]
    assert len({(round(one.width), round(one.height)) for one in pictures}) == 1
    words = [text.get_window_extent() for text in figure.texts]
    for one in words:
        assert figure.bbox.x0 - 1 <= one.x0 < one.x1 <= figure.bbox.x1 + 1
        assert not any(one.overlaps(other) for other in pictures)
    last = contact_sheet(clusters[:1]).texts[-1].get_text()
    assert last.replace("\n", " ").endswith("7 pictures, 50% right: none found")


def test_clusters_are_ranked_by_the_weaker_test_of_the_stronger_pair(found):
    def strength(**changed):
        trials = {name: Trial(n, 0, 16) for name, n in changed.items()}
        return dataclasses.replace(found.clusters[0], trials=trials).strength

    assert strength(leaves=16, joins=4, hide=8, paste=8) == 0.5
    assert strength(leaves=16, joins=12, hide=16, paste=0) == 0.75
    assert strength(leaves=16) == strength() == 0
    ranks = [one.strength for one in found.clusters]
    assert ranks == sorted(ranks, reverse=True)


def test_a_trial_is_confirmed_by_a_large_difference_that_is_no_accident():
    assert Trial(16, 0, 16).confirmed
    assert Trial(6, 0, 6).confirmed
    assert not Trial(5, 0, 5).confirmed, "too few to be sure"
    assert not Trial(16, 12, 16).confirmed, "the control does it too"
    assert not Trial(4, 0, 16).confirmed, "not often enough"
    assert not Trial(0, 0, 0).confirmed
    assert Trial(0, 16, 16).effect == -1


def test_verdicts_need_both_tests_of_a_pair():
    yes, no = Trial(16, 0, 16), Trial(0, 0, 16)

    def verdict(*held):
        return judged({name: yes if name in held else no for name in shortcuts.TRIALS}, "")[0]

    assert verdict() == "none found"
    assert verdict("leaves") == verdict("paste", "joins") == "suspected"
    assert verdict("leaves", "joins") == "short cut: background"
    assert verdict("hide", "paste") == "short cut: cue"
    assert verdict("hide", "paste", "leaves", "joins") == "short cut: cue"
    assert judged({}, "too few") == ("undecided", "too few")


def test_a_label_that_the_model_has_no_class_for_is_refused():
    drawn = scenes(4, seed=0)
    labels = drawn.labels.clone()
    labels[2] = 99
    with pytest.raises(ValueError, match=r"labels \[99\], the model the classes 0 to 5"):
        find_shortcuts(load("scenes-cnn"), (drawn.images, labels, drawn.masks))
