"""What all tests share: no network, and GPU tests only where there is a GPU."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import setuptools  # noqa: F401  (must come before distutils, which later imports bring: it says so)

OFFLINE = Path(__file__).parent / "offline"
sys.path.insert(0, str(OFFLINE))
import sitecustomize  # noqa: E402

sitecustomize.forbid_network()
# So are kernels and commands that tests start: Python imports sitecustomize by itself.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(OFFLINE), os.environ.get("PYTHONPATH")])
)


CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
# Quiet: a browser that looks for its own updates would be counted as a page that asks the web.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()


@pytest.fixture(scope="session")
def browser():
    """One for all: a process cannot drive two."""
    from playwright.sync_api import sync_playwright

    found = [os.environ.get("CHROMIUM"), *map(shutil.which, CHROMIUM)]
    path = next(filter(None, found), None)
    if path is None:
        pytest.fail(
            "no Chromium on this machine. Debian: sudo apt-get install chromium; or set CHROMIUM"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def pytest_collection_modifyitems(items):
    import torch

    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device")
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(skip)
