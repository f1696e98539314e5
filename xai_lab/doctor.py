"""`xai-lab doctor`: is everything there, does it fit, and if not, what is to be typed.

Each check yields findings and none may raise: an installation that needs a doctor is one where
imports fail. Whatever could take the process down (torch, torchvision, a GPU) is tried in a process
of its own, `PROBE`, which says what it finds one line at a time until it ends or breaks.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import shutil
import site
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parent.parent
OLDEST = (3, 10)
NEEDED, COMFORTABLE = 0.5e9, 2e9  # bytes free: to work at all, to fetch a model or build the book
PROBE = """
import json, sys
sys.path[:] = [p for p in sys.path if p] + [PROJECT]
def say(**facts):
    print("@" + json.dumps(facts), flush=True)
import torch
say(torch=str(torch.__version__), cuda=torch.version.cuda)
from xai_lab import core, models
from xai_lab.models import text
say(lite0=[models.LITE0_FILE, models.LITE0_SHA256], minilm=[text.MINILM_FILE, text.MINILM_SHA256])
try:
    device = core.device()
    assert (torch.ones(8, device=device) * 2).sum().item() == 16
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    say(device=str(device), name=name, gpu=torch.accelerator.is_available())
except Exception as error:
    say(device_error=" ".join(str(error).split()))
import torchvision
say(torchvision=str(torchvision.__version__))
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
say(together=True)
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    state : str
        ``"ok"``, ``"note"`` or ``"BROKEN"``.
    what : str
        What was found.
    remedy : tuple of str
        What to type, a line each.
    """

    state: str
    what: str
    remedy: tuple[str, ...] = ()


def doctor() -> int:
    """Check the installation and print what was found.

    Returns
    -------
    int
        0 if nothing is broken, else 1.
    """
    facts, failure = probe()
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("Python", python),
        ("torch and torchvision", lambda: pair(facts, failure)),
        ("the device", lambda: device(facts)),
        ("the packages", packages),
        ("the networks", lambda: weights(facts)),
        ("the photos", photos),
        ("the disk", disk),
        ("Jupyter", jupyter),
    ]
    broken = 0
    for name, check in checks:
        try:
            findings = list(check())
        except Exception as error:  # a check that fails is a finding, never a traceback
            text = " ".join(f"{type(error).__name__}: {error}".split())
            findings = [Finding("BROKEN", f"{name} could not be checked ({text})", reinstall())]
        for finding in findings:
            print(f"{finding.state:7s} {finding.what}", flush=True)
            for number, line in enumerate(finding.remedy):
                print(f"        {'type:' if number == 0 else '     '} {line}", flush=True)
            broken += finding.state == "BROKEN"
    if broken:
        things = "One thing is" if broken == 1 else f"{broken} things are"
        print(f"{things} broken. Type what stands beside it, then: xai-lab doctor")
        return 1
    print("Everything that the course needs is in place. Next: xai-lab explain astronaut")
    return 0


def probe() -> tuple[dict, str]:
    """Facts that `PROBE` found about torch and torchvision, and how it broke, if it did."""
    source = PROBE.replace("PROJECT", repr(str(PROJECT)))
    try:
        done = subprocess.run(
            [sys.executable, "-c", source],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, " ".join(str(error).split())[:200]
    facts: dict = {}
    for line in done.stdout.splitlines():
        if line.startswith("@{"):
            facts.update(json.loads(line[1:]))
    if done.returncode == 0:
        return facts, ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    if done.returncode < 0:
        return facts, f"it ended the process (signal {-done.returncode})"
    return facts, said[-1].strip() if said else f"exit code {done.returncode}"


def python() -> Iterator[Finding]:
    """Check the version of Python."""
    found = f"Python {platform.python_version()}, {shown(sys.executable)}"
    if sys.version_info < OLDEST:
        yield Finding(
            "BROKEN", f"{found}: 3.10 or newer is needed", ("make book PYTHON=python3.12",)
        )
    else:
        yield Finding("ok", found)


def pair(facts: dict, failure: str) -> Iterator[Finding]:
    """Check that torch and torchvision can be imported together and were released together."""
    for name in ("torch", "torchvision"):
        where = stranger(name)
        if where and "together" not in facts:
            remedy = (f"mv {command(where)} {command(f'{where}.away')}",)
            if os.environ.get("PYTHONPATH"):
                remedy = ("$env:PYTHONPATH = ''" if os.name == "nt" else "unset PYTHONPATH",)
            yield Finding(
                "BROKEN",
                f"{name} is taken from {where}, which hides the real one: {failure}",
                remedy,
            )
            return
    if "torch" not in facts:
        yield Finding("BROKEN", f"torch cannot be imported: {failure}", reinstall())
        return
    torch = facts["torch"].partition("+")[0]
    if "lite0" not in facts:
        yield Finding("BROKEN", f"xai_lab cannot be imported: {failure}", reinstall())
        return
    fitting = fitting_torchvision(torch)
    if "together" not in facts:
        installed = facts.get("torchvision") or installed_version("torchvision")
        what = f"torchvision {installed}" if installed else "torchvision"
        yield Finding(
            "BROKEN",
            f"{what} cannot be used with torch {torch}: {failure}",
            reinstall(f"torch=={torch}", f"torchvision=={fitting}"),
        )
        return
    torchvision = facts["torchvision"].partition("+")[0]
    both = f"torch {facts['torch']} with torchvision {facts['torchvision']}"
    if re.search(r"dev|a\d|b\d|rc", torch + torchvision):
        yield Finding("note", f"{both}: not releases; results may differ from the course's")
    elif released_together(torch, torchvision):
        yield Finding("ok", f"{both}, released together")
    else:
        yield Finding(
            "BROKEN",
            f"{both}: these were not released together (torchvision {fitting} fits)",
            reinstall(f"torch=={torch}", f"torchvision=={fitting}"),
        )


def released_together(torch: str, torchvision: str) -> bool:
    """Whether a torchvision was made for a torch: its own metadata say so, else the numbers do."""
    if installed_version("torchvision").partition("+")[0] == torchvision:
        for line in importlib.metadata.requires("torchvision") or []:
            pin = re.match(r"torch\s*\(?==\s*([\d.]+)", line)
            if pin:
                return pin[1] == torch
    return torchvision.split(".")[:2] == fitting_torchvision(torch).split(".")[:2]


def fitting_torchvision(torch: str) -> str:
    """Version of torchvision for a version of torch: 2.x goes with 0.(x + 15)."""
    major, minor, *_ = (int(n) for n in re.findall(r"\d+", torch)[:2])
    return f"0.{minor + 15}.*" if major == 2 else "*"


def device(facts: dict) -> Iterator[Finding]:
    """Check where the course would compute."""
    wanted = os.environ.get("XAI_LAB_DEVICE", "").strip()
    if "device_error" in facts:
        remedy = "$env:XAI_LAB_DEVICE = ''" if os.name == "nt" else "unset XAI_LAB_DEVICE"
        if not wanted:
            remedy = (
                "$env:XAI_LAB_DEVICE = 'cpu'" if os.name == "nt" else "export XAI_LAB_DEVICE=cpu"
            )
        yield Finding("BROKEN", f"the device does not work: {facts['device_error']}", (remedy,))
    elif "device" in facts:
        because = "XAI_LAB_DEVICE says so" if wanted else "XAI_LAB_DEVICE is not set"
        name = f" ({facts['name']})" if facts["name"] else ""
        none = "" if facts["gpu"] else "; PyTorch finds no GPU, and the course needs none"
        yield Finding("ok", f"device {facts['device']}{name}, {because}{none}")
        if not facts["gpu"] and shutil.which("nvidia-smi"):
            why = (
                f"its driver may be older than CUDA {facts['cuda']}"
                if facts["cuda"]
                else "this build of torch is for the CPU only"
            )
            yield Finding("note", f"an NVIDIA driver is here, but torch sees no GPU: {why}")
    else:
        yield Finding("note", "the device was not checked, because torch does not work")


def packages() -> Iterator[Finding]:
    """Check that what the package asks for is installed, in versions that it works with."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires("xai-lab") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "note",
            "xai-lab itself is not installed in this Python; it runs from its folder only",
            (pip("-e", str(PROJECT)),),
        )
        return
    wrong = []
    needed = [Requirement(line) for line in lines]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        found = installed_version(one.name)
        if not found:
            wrong.append((one, f"{one.name} is not installed"))
        elif not one.specifier.contains(found, prereleases=True):
            wrong.append((one, f"{one.name} is {found}, needed is {one.specifier}"))
    for one, text in wrong:
        yield Finding("BROKEN", text, (pip(f"{one.name}{one.specifier}"),))
    if not wrong:
        yield Finding("ok", f"all {len(needed)} packages that xai-lab needs, in versions that fit")


def weights(facts: dict) -> Iterator[Finding]:
    """Check the networks that come with the course, to the byte."""
    for name, key in (("EfficientNet-Lite0", "lite0"), ("MiniLM-L6", "minilm")):
        if key not in facts:
            yield Finding("note", f"{name} was not checked, because torch does not work")
            continue
        file, sha256 = facts[key]
        package, _, inside = file.partition("/")
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            yield Finding("BROKEN", f"{name} is not installed", (pip(package),))
            continue
        path = Path(spec.submodule_search_locations[0]) / inside
        again = (pip("--force-reinstall", "--no-deps", package),)
        if not path.is_file():
            yield Finding("BROKEN", f"{name}: the file {path.name} is missing", again)
            continue
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found == sha256:
            yield Finding("ok", f"{name}, sha256 {sha256[:12]}… as published")
        else:
            yield Finding(
                "BROKEN",
                f"{name}: {path.name} has sha256 {found[:12]}…, expected {sha256[:12]}…; "
                "it is damaged or changed",
                again,
            )


def photos() -> Iterator[Finding]:
    """Check that the course's photos can be found."""
    from xai_lab import data

    missing = {}
    for name in data.PHOTOS:
        try:
            if not data.bundled(name).is_file():
                raise FileNotFoundError(f"the file of the photo {name!r} is missing")
        except FileNotFoundError:
            package = data.PHOTOS[name][0].partition("/")[0]
            missing[name] = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[package]
    if missing:
        again = pip("--force-reinstall", "--no-deps", *sorted(set(missing.values())))
        yield Finding("BROKEN", f"photos are missing: {', '.join(missing)}", (again,))
    else:
        yield Finding("ok", f"{len(data.PHOTOS)} photos: {', '.join(data.PHOTOS)}")


def disk() -> Iterator[Finding]:
    """Check that there is room for results here, and at home for models that are fetched."""
    seen = set()
    for place, use in ((Path.cwd(), "this folder"), (Path.home(), "home, where models are kept")):
        number = place.stat().st_dev
        if number in seen:
            continue
        seen.add(number)
        free = shutil.disk_usage(place).free
        text = f"{free / 1e9:.1f} GB free on the disk of {use}"
        caches = shown(str(Path.home() / ".cache"))
        if free < NEEDED:
            remedy = (f"du -sh {caches}/*   (then remove what you do not need)",)
            if os.name == "nt":
                remedy = ("cleanmgr",)
            yield Finding("BROKEN", f"{text}: {NEEDED / 1e9:g} GB are needed", remedy)
        elif free < COMFORTABLE:
            yield Finding("note", f"{text}: enough to go on, short for the book or more models")
        else:
            yield Finding("ok", text)


def jupyter() -> Iterator[Finding]:
    """Check what the notebooks need; the package works without it."""
    book = pip("-e", f"{PROJECT}[book]") if (PROJECT / "pyproject.toml").is_file() else ""
    for name in ("jupyterlab", "ipykernel"):
        if find_spec(name) is None:
            yield Finding(
                "note",
                f"{name} is not installed; the notebooks need it, the package does not",
                (book or pip(name),),
            )
            return
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        starts = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        starts = ""
    # Jupyter reads a bare `python` as the one that it runs in itself.
    own = re.fullmatch(r"python[\d.]*(\.exe)?", starts) or (
        starts and os.path.normcase(Path(starts).parent) == os.path.normcase(here().parent)
    )
    install = (f"{command(shown(sys.executable), '-m', 'ipykernel', 'install', '--sys-prefix')}",)
    if own:
        yield Finding("ok", f"JupyterLab {installed_version('jupyterlab')}, kernel of this Python")
    elif starts:
        yield Finding("BROKEN", f"the kernel 'python3' starts another Python, {starts}", install)
    else:
        yield Finding("BROKEN", "Jupyter has no kernel named 'python3'", install)


def stranger(name: str) -> str:
    """File or folder that a package is taken from, if it is not where this Python keeps its own."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        return ""
    origin = Path(spec.origin)
    if any(origin.is_relative_to(path) for path in (*site.getsitepackages(), sys.prefix)):
        return ""
    if origin.is_relative_to(site.getusersitepackages()):
        return ""
    return str(origin.parent if origin.name == "__init__.py" else origin)


def here() -> Path:
    """Folder and name of this Python, as it was called: a virtual environment's own."""
    return Path(os.path.abspath(sys.executable))


def installed_version(name: str) -> str:
    """Version of an installed package, or nothing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def shown(path: str) -> str:
    """Path as one would type it from here."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def command(*words: str) -> str:
    """Words as a line for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def pip(*what: str) -> str:
    """Line that installs something into this very environment."""
    if find_spec("pip") is not None:
        return command(shown(sys.executable), "-m", "pip", "install", *what)
    beside = here().with_name("uv.exe" if os.name == "nt" else "uv")
    uv = shown(str(beside)) if beside.is_file() else "uv"
    what = tuple(w for w in what if w != "--force-reinstall") if uv == "uv" else what
    return command(uv, "pip", "install", "--python", shown(sys.executable), *what)


def reinstall(*pins: str) -> tuple[str, ...]:
    """Lines that put the environment right: by the project's lock, or else by version."""
    if not (PROJECT / "requirements.lock").is_file():
        return (pip("--force-reinstall", *(pins or ("torch", "torchvision"))),)
    go = () if Path.cwd() == PROJECT else (command("cd", str(PROJECT)),)
    python, uv = (
        str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
        for path in (here(), here().with_name("uv.exe" if os.name == "nt" else "uv"))
    )
    if not (PROJECT / uv).is_file():
        return (*go, command(python, "-m", "pip", "install", "-r", "requirements.lock"))
    install = f"{command(uv)} pip install --python {command(python)}"
    return (
        *go,
        f"{command(uv)} pip sync --python {command(python)} requirements.lock",
        f"{install} --no-deps --no-build-isolation -e .",
    )
