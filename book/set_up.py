"""Set up everything the course needs in `.venv`: `python3 book/set_up.py`, or any make target.

Needs Python 3.10 or newer and nothing else, on Linux, macOS and Windows. Installs exactly what
`requirements.lock` names, the package itself, and the JavaScript that the built site serves
itself (`package-lock.json`). May be run again at any time: what is in place is left alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
LOCK = ROOT / "requirements.lock"
VENDOR = ROOT / "book" / "site_extra" / "vendor"

# What the pages ask for, out of the npm packages: (file or folder there, name in vendor/).
SCRIPTS = [
    ("mathjax/es5/tex-mml-chtml.js", "mathjax/tex-mml-chtml.js"),
    ("mathjax/es5/output/chtml/fonts/woff-v2", "mathjax/output/chtml/fonts/woff-v2"),
    ("mathjax/es5/input/tex/extensions", "mathjax/input/tex/extensions"),
    ("requirejs/require.js", "require.js"),
    ("d3/dist/d3.min.js", "d3.min.js"),
    ("jquery/dist/jquery.min.js", "jquery.min.js"),
    ("@jupyter-widgets/html-manager/dist/embed-amd.js", "embed-amd.js"),
]


def main() -> None:
    """Set up `.venv`, then say what can be done with it."""
    check_python()
    if not pip_works():
        say("making .venv")
        run(sys.executable, "-m", "venv", "--clear", str(VENV))
    install_packages()
    open_markdown_as_notebooks()
    fetch_scripts()
    say("ready: everything is in .venv. Next: make book, make lab or make help")


def check_python() -> None:
    """Stop with the remedy where this Python cannot make a virtual environment."""
    if sys.version_info < (3, 10):  # noqa: UP036  (whoever is told so has an older one)
        have = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"XAI Lab needs Python 3.10 or newer, this is {have}. Install one and try again.")
    try:
        import ensurepip  # noqa: F401  (Debian and Ubuntu ship it apart)
        import venv  # noqa: F401
    except ImportError:
        sys.exit(
            "This Python cannot make virtual environments: its venv module is missing.\n"
            "On Debian or Ubuntu: sudo apt-get install python3-venv. Then run the command again."
        )


def pip_works() -> bool:
    """Whether `.venv` is there and whole; one whose making was interrupted is not."""
    if not PYTHON.exists():
        return False
    version = [str(PYTHON), "-m", "pip", "--version"]
    return subprocess.run(version, capture_output=True, check=False).returncode == 0


def install_packages() -> None:
    """Make `.venv` hold what the lock names, and this package in editable form."""
    pins = LOCK.read_text(encoding="utf-8").splitlines()
    uv = next(pin for pin in pins if pin.startswith("uv=="))
    if not has_uv(uv.partition("==")[2]):
        say(f"installing {uv}")
        run(str(PYTHON), "-m", "pip", "install", "--quiet", uv)
    lock = LOCK
    if os.environ.get("UV_TORCH_BACKEND") == "cpu":  # its builds of torch need none of CUDA
        lock = VENV / "requirements-cpu.lock"
        cuda = ("nvidia-", "cuda-", "triton==")
        lock.write_text("\n".join(p for p in pins if not p.startswith(cuda)), encoding="utf-8")
    say("installing the packages of requirements.lock (the first time this takes minutes)")
    uv_pip = [str(PYTHON), "-m", "uv", "pip"]
    # Compiled once here, or by each of the many processes that start where none may write.
    run(*uv_pip, "sync", "--compile-bytecode", "--python", str(PYTHON), str(lock))
    package = ["--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run(*uv_pip, "install", "--python", str(PYTHON), *package)


def has_uv(version: str) -> bool:
    """Whether `.venv` holds this version of uv."""
    command = [str(PYTHON), "-m", "uv", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f" {version}" in found


def open_markdown_as_notebooks() -> None:
    """Have JupyterLab open a chapter as a notebook on double click."""
    settings = {
        "@jupyterlab/docmanager-extension:plugin": {
            "defaultViewers": {"markdown": "Jupytext Notebook", "myst": "Jupytext Notebook"}
        }
    }
    folder = VENV / "etc" / "jupyter" / "labconfig"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings, indent=2)
    (folder / "default_setting_overrides.json").write_text(text, encoding="utf-8")


def fetch_scripts() -> None:
    """Install the site's JavaScript with npm and copy the few files that pages ask for."""
    lock = (ROOT / "package-lock.json").read_bytes() + repr(SCRIPTS).encode()
    wanted = hashlib.sha256(lock).hexdigest()
    stamp = VENDOR / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    say("installing the JavaScript of package-lock.json")
    npm = BIN / ("npm.exe" if os.name == "nt" else "npm")
    path = str(BIN) + os.pathsep + os.environ.get("PATH", "")  # npm looks for node beside it
    run(
        *(str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"),
        env={**os.environ, "PATH": path},
    )
    shutil.rmtree(VENDOR, ignore_errors=True)
    for source, name in SCRIPTS:
        source, target = ROOT / "node_modules" / source, VENDOR / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, target)
    stamp.write_text(wanted, encoding="utf-8")


def run(*command: str, **options) -> None:
    """Run a command in the project's folder; where it fails, say which and stop."""
    done = subprocess.run(command, cwd=ROOT, check=False, **options)
    if done.returncode:
        sys.exit(f"set-up stopped: {' '.join(command)} failed with status {done.returncode}")


def say(text: str) -> None:
    """Print a line of progress, in order with the output of the commands."""
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    main()
