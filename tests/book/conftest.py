"""The built site, a server for it, and Chromium to look at it with."""

import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("XAI_LAB_SITE", ROOT / "_build" / "html"))
# Everything that the tests ask of a loaded page, in one go.
FACTS = """() => {
  const article = document.querySelector("article") || document.body;
  const prose = article.cloneNode(true);
  prose.querySelectorAll("code, pre, dt.sig, script, style, .math, mjx-container")
    .forEach(e => e.remove());
  return {
    title: document.title,
    prose: prose.textContent,
    equations: article.querySelectorAll(".math").length,
    unrendered: [...article.querySelectorAll(".math")]
      .filter(e => !e.querySelector("mjx-container")).map(e => e.textContent),
    badEquations: [...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
      .map(e => e.textContent),
    images: [...document.querySelectorAll("img")].map(e => ({
      src: (e.getAttribute("src") || "").slice(0, 80), alt: e.getAttribute("alt"),
      loaded: e.naturalWidth > 0 || e.loading === "lazy" || e.offsetParent === null,
      inArticle: article.contains(e)})),
  };
}"""


class Quiet(SimpleHTTPRequestHandler):
    """A file server that logs nothing."""

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(scope="session")
def site():
    if not (SITE / "index.html").exists():
        pytest.fail("the site is not built: run make book first")
    return SITE


@pytest.fixture(scope="session")
def address(site):
    """Address of the site over http on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.close()


def settle(page):
    """Wait until MathJax is done and nothing more is loaded."""
    page.wait_for_load_state("load")
    page.wait_for_function(
        """() => !document.querySelector('script[src*="mathjax"]')
              || (window.MathJax && MathJax.startup && MathJax.startup.promise)"""
    )
    page.evaluate("() => window.MathJax?.startup?.promise?.then(() => true)")
    page.wait_for_load_state("networkidle")


@pytest.fixture(scope="session")
def visit(browser, address, site):
    """Open a page once, over "http" or "file"; return what it did and what is on it."""
    seen = {}

    def open_page(name, scheme):
        if (name, scheme) not in seen:
            base = address if scheme == "http" else site.resolve().as_uri()
            page = browser.new_page()
            requests, failed, errors = [], [], []
            page.on("request", lambda request: requests.append(request.url))
            page.on("requestfailed", lambda request: failed.append(request.url))
            page.on("response", lambda answer: answer.status >= 400 and failed.append(answer.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda line: line.type == "error" and errors.append(line.text))
            page.goto(f"{base}/{name}")
            settle(page)
            inside = (base, "data:", "blob:", "about:")
            outside = [url for url in requests if not url.startswith(inside)]
            facts = page.evaluate(FACTS)
            page.close()
            seen[name, scheme] = {
                **facts,
                "outside": outside,
                "failed": failed,
                "errors": errors,
            }
        return seen[name, scheme]

    return open_page


def page_names():
    """Names of all pages of the site, relative to it; index.html only leads to the first."""
    skip = ("_static", "_sources", "vendor", "index.html")
    pages = (path.relative_to(SITE) for path in SITE.rglob("*.html"))
    return sorted(page.as_posix() for page in pages if page.parts[0] not in skip)


def pytest_generate_tests(metafunc):
    names = page_names()
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", names or ["none.html"])
    if "chapter" in metafunc.fixturenames:
        chapters = [name for name in names if name.startswith("chapters/")]
        metafunc.parametrize("chapter", chapters or ["chapters/none.html"])
