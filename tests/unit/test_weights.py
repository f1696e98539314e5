"""The models trained here: their files, their cards, and the frame that writes them."""

import hashlib
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load as read
from torch import nn

import xai_lab
from xai_lab.models import bundled, train
from xai_lab.models.train import HOME, LARGEST, Recipe

NAMES = sorted(HOME)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_with_a_recipe_loads_by_name(name):
    net = xai_lab.load(name, device="cpu")
    assert net.name == name
    assert not net.model.training
    assert net.labels
    assert all(p.dtype == torch.float32 for p in net.model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_card_fits_its_file_and_its_recipe(name):
    content = (bundled.WEIGHTS / f"{name}.safetensors").read_bytes()
    card = bundled.card(name)
    assert card["name"] == name
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["bytes"] == len(content) <= LARGEST
    plan = train.recipe(name)
    assert (card["seed"], card["data"]) == (plan.seed, plan.data)
    assert set(card["goals"]) == set(plan.goals)
    for key, (low, high) in plan.goals.items():
        assert low <= card["metrics"][key] <= high


def test_the_folder_holds_nothing_else_and_not_too_much():
    files = {path.name for path in bundled.WEIGHTS.iterdir()}
    assert files == {f"{name}.{kind}" for name in NAMES for kind in ("json", "safetensors")}
    assert sum(path.stat().st_size for path in bundled.WEIGHTS.iterdir()) <= 25_000_000


def test_training_all_of_them_takes_at_most_90_minutes():
    cards = [bundled.card(name) for name in NAMES]
    assert sum(card.get("cpu_minutes", card["minutes"]) for card in cards) <= 90


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("tinylm", "tiny-lm"), ("digit-cnn", "digits-cnn"), ("scene-cnn", "scenes-cnn")],
)
def test_an_unknown_name_lists_the_nearest(wrong, near):
    with pytest.raises(ValueError, match=f"no model '{wrong}'. Near it: .*{near}"):
        xai_lab.load(wrong)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of one model's files, to be spoilt."""
    for kind in ("json", "safetensors"):
        shutil.copy(bundled.WEIGHTS / f"digits-cnn.{kind}", tmp_path)
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    return tmp_path


def spoil(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        spoil,
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
    ],
    ids=["one bit altered", "cut off", "empty"],
)
def test_a_damaged_file_is_said(folder, damage):
    damage(folder / "digits-cnn.safetensors")
    with pytest.raises(ValueError, match=r"cut off or changed.*make weights MODELS=digits-cnn"):
        xai_lab.load("digits-cnn", device="cpu")
    xai_lab.load("digits-cnn", pretrained=False, device="cpu")


@pytest.mark.parametrize("kind", ["json", "safetensors"])
def test_a_missing_file_is_said_with_the_way_to_get_it(folder, kind):
    (folder / f"digits-cnn.{kind}").unlink()
    expected = rf"digits-cnn\.{kind} is missing.*make weights MODELS=digits-cnn"
    with pytest.raises(FileNotFoundError, match=expected):
        xai_lab.load("digits-cnn", device="cpu")


@pytest.mark.parametrize("content", ["", "{", '{"name": "digits-cnn"}', "[]"])
def test_a_damaged_card_is_said(folder, content):
    (folder / "digits-cnn.json").write_text(content)
    with pytest.raises(ValueError, match=r"digits-cnn\.json.*make weights MODELS=digits-cnn"):
        xai_lab.load("digits-cnn", device="cpu")


def plan(**changes):
    """Recipe that takes no time."""

    def untrained():
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return nn.Linear(3, 2)

    parts = {
        "train": untrained,
        "evaluate": lambda model: {"sum": model.weight.sum().item()},
        "data": "none",
        "architecture": "a line",
        "goals": {"sum": (-9, 9)},
    }
    return Recipe(**{**parts, **changes})


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Make the recipe of `digits-cnn` another one, and its folder an empty one."""
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path / "weights")

    def use(**changes):
        monkeypatch.setattr(train, "recipe", lambda _name: plan(**changes))
        return tmp_path / "weights"

    return use


def test_weights_and_card_are_written_together(recipe):
    folder = recipe()
    assert train.run("digits-cnn")
    assert {path.name for path in folder.iterdir()} == {"digits-cnn.json", "digits-cnn.safetensors"}
    content = (folder / "digits-cnn.safetensors").read_bytes()
    card = json.loads((folder / "digits-cnn.json").read_text())
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["parameters"] == 8
    assert read(content)["weight"].dtype == torch.float16
    assert bundled.read_weights("digits-cnn")["weight"].shape == (2, 3)


def test_metrics_are_those_of_the_rounded_weights(recipe):
    seen = []

    def measure(model):
        seen.append(model.weight.clone())
        return {"sum": model.weight.sum().item()}

    folder = recipe(evaluate=measure)
    train.run("digits-cnn")
    shipped = read((folder / "digits-cnn.safetensors").read_bytes())["weight"].float()
    assert torch.equal(seen[0], shipped)


def test_a_missed_goal_writes_nothing(recipe, capsys):
    folder = recipe(goals={"sum": (100, 200)})
    assert not train.run("digits-cnn")
    assert not folder.exists()
    said = capsys.readouterr().out
    assert "outside its goal 100..200" in said
    assert "nothing was written" in said


def test_a_metric_that_is_not_a_number_meets_no_goal(recipe):
    folder = recipe(evaluate=lambda _model: {"sum": float("nan")})
    assert not train.run("digits-cnn")
    assert not folder.exists()


def test_a_missed_goal_leaves_the_old_files(recipe):
    folder = recipe()
    train.run("digits-cnn")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    recipe(goals={"sum": (100, 200)})
    train.run("digits-cnn")
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_that_is_too_large_is_not_written(recipe, monkeypatch, capsys):
    monkeypatch.setattr(train, "LARGEST", 10)
    folder = recipe()
    assert not train.run("digits-cnn")
    assert not folder.exists()
    assert "at most 8 are allowed" in capsys.readouterr().out


def test_an_interrupted_write_leaves_the_old_file_whole(recipe, monkeypatch):
    folder = recipe()
    train.run("digits-cnn")
    before = (folder / "digits-cnn.safetensors").read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        train.write("digits-cnn.safetensors", b"half")
    assert (folder / "digits-cnn.safetensors").read_bytes() == before


def test_a_goal_without_a_metric_is_a_mistake_in_the_recipe(recipe):
    recipe(goals={"sum": (-9, 9), "accuracy": (0.9, 1)})
    with pytest.raises(ValueError, match="no metric for the goals accuracy"):
        train.run("digits-cnn")


def test_only_what_the_recipe_keeps_is_shipped(recipe):
    folder = recipe(keep=lambda name: name == "bias", half=False)
    train.run("digits-cnn")
    shipped = read((folder / "digits-cnn.safetensors").read_bytes())
    assert list(shipped) == ["bias"]
    assert shipped["bias"].dtype == torch.float32


def test_training_again_is_compared_with_the_card(recipe, capsys):
    folder = recipe()
    train.run("digits-cnn")
    first = json.loads((folder / "digits-cnn.json").read_text())
    capsys.readouterr()
    train.run("digits-cnn")
    assert "within tolerance" in capsys.readouterr().out
    again = json.loads((folder / "digits-cnn.json").read_text())
    assert {**first, "minutes": 0} == {**again, "minutes": 0}, "the same seed, the same weights"
    recipe(evaluate=lambda _model: {"sum": 5.0})
    train.run("digits-cnn")
    assert "NOT within tolerance" in capsys.readouterr().out


def test_the_command_line_knows_its_models(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        train.main(["tinylm"])
    said = capsys.readouterr().err
    assert "no recipe for tinylm" in said
    assert "tiny-lm" in said
    asked = []
    monkeypatch.setattr(train, "run", lambda name: asked.append(name) or name != "tiny-lm")
    assert train.main(["digits-cnn"]) == 0
    assert train.main([]) == 1
    assert asked == ["digits-cnn", *HOME]
    assert "Missed their goals: tiny-lm" in capsys.readouterr().out
