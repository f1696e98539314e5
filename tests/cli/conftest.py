"""What is asked of every page of `xai-lab debug` and `xai-lab shortcuts`."""

import re
from html.parser import HTMLParser

import pytest


class Page(HTMLParser):
    """Tags of a page with their attributes, the rows of its tables, and tags left open."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, page):
        super().__init__()
        self.tags, self.rows, self.open, self.inside = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag in ("td", "th")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


@pytest.fixture
def checked():
    """Page that was read: well-formed, nothing from outside, no script, pictures in words."""

    def check(path):
        page = path.read_text(encoding="utf-8")
        read = Page(page)
        assert read.open == []
        for tag, attributes in read.tags:
            assert tag not in ("script", "iframe", "object", "base", "form"), tag
            for name in ("src", "href", "srcset", "action"):
                assert attributes.get(name, "data:").startswith(("data:", "#")), attributes
            assert not any(name.startswith("on") for name in attributes), attributes
        assert not re.search(r"url\(|@import", page)
        assert all(a["alt"].strip() for tag, a in read.tags if tag == "img")
        places = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
        assert len(places) == len(set(places))
        (policy,) = (a["content"] for _, a in read.tags if "http-equiv" in a)
        assert policy.startswith("default-src 'none'")
        assert "script" not in policy
        return read

    return check


@pytest.fixture
def opened(browser):
    """Tab of a page, in which nothing may go wrong or be asked from outside."""
    wrong, asked, tab = [], [], browser.new_page()
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda line: wrong.append(line.text))
    tab.on("request", lambda request: asked.append(request.url))

    def show(path):
        tab.goto(path.as_uri())
        return tab

    yield show
    drawn = tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 300)")
    tab.set_viewport_size({"width": 360, "height": 700})
    wide = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    assert drawn
    assert wide <= 360
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
