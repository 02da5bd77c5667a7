"""Pages, parsed, and runs written by hand."""

import json
import re
from html.parser import HTMLParser

from distalex.config.loading import load_config


class Page(HTMLParser):
    """Tags, ids and text of a page; raises where tags do not close in turn."""

    VOID = ("meta", "img", "br", "line", "rect", "circle", "polyline", "polygon", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def of(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def page_of(path):
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", text), "something would be fetched"
    assert "url(" not in text
    assert "@import" not in text
    assert all(image["alt"] for image in page.of("img"))
    assert all(drawing.get("aria-label") or drawing.get("aria-labelledby") for drawing in page.of("svg"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    referred = [value for _, attributes in page.tags for key in ("aria-labelledby", "aria-describedby") if (value := attributes.get(key))]
    assert set(referred) <= set(ids)
    return page


def write_run(folder, rows=(), **values):
    """A run of files alone."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(load_config(None, {"data.name": "digits", **values}).dump())
    (folder / "metrics.jsonl").write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return folder


def trained(step, loss=1.0, **values):
    return {"kind": "train", "step": step, "epoch": 1, "loss": loss, "top1": 50.0, "lr": 0.1, "images_per_second": 10.0, **values}
