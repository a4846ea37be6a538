"""The report of an audit: one file that loads nothing, whatever ids and files hold."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from penumbra.audit.audit import audit
from penumbra.data.layouts import open_source

NASTY = "<b onclick='x'>é, \"&"
VOID = frozenset({"meta", "img", "input", "link", "br"})


class Page(HTMLParser):
    """What the page holds: its tags with attributes, and that they are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"unbalanced </{tag}>"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


def square(at, classes=1):
    mask = np.zeros((48, 48), np.uint8)
    mask[10:30, at : at + 16] = classes
    return mask


def make(folder, masks):
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    coarse = np.random.default_rng(1).integers(0, 256, (6, 6), dtype=np.uint8)
    for name, mask in masks.items():
        Image.fromarray(coarse).resize((48, 48)).save(folder / "images" / f"{name}.png")
        if mask is not None:
            Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return open_source(f"folder:{folder}", class_names=("background", "one", "<two>"))


@pytest.fixture
def found(tmp_path):
    names = {"a": square(4), "b": square(20), "c": square(20, 2), "d": square(4) * 0, "e": None}
    source = make(tmp_path / "set", names)
    records = tuple(
        replace(record, id=f"{NASTY} {record.id}", group=NASTY) for record in source.records
    )
    return audit(replace(source, records=records, findings=()))


def test_the_page_loads_nothing_and_escapes_names(found, tmp_path):
    text = found.write(tmp_path).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not [attributes for _, attributes in page.tags if "onclick" in attributes]
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
    assert "http://" not in text
    assert "https://" not in text
    assert any(f"{NASTY} a" in words for words in page.words)
    assert "<two>" in page.words


def test_the_sections_are_there_and_linked(found, tmp_path):
    page = Page(found.write(tmp_path).read_text(encoding="utf-8"))
    ids = {attributes.get("id") for tag, attributes in page.tags if tag == "section"}
    links = {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= ids
    assert {"conflicts", "duplicates", "balance", "findings", "all", "repeat"} <= ids
    assert "#leaks" not in links


def test_every_id_is_there_once(found, tmp_path):
    page = Page(found.write(tmp_path).read_text(encoding="utf-8"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    plain = {attributes["data-plain"] for _, attributes in page.tags if "data-plain" in attributes}
    assert plain <= set(ids)


def test_a_file_that_went_since_is_left_out_and_counted(found, tmp_path):
    (tmp_path / "set" / "images" / "b.png").unlink()
    words = " ".join(Page(found.write(tmp_path / "out").read_text(encoding="utf-8")).words)
    assert "could not be drawn" in words


def test_sets_without_masks_or_duplicates_have_a_page(tmp_path):
    bare = audit(make(tmp_path / "bare", {"a": None, "b": None}))
    text = bare.write(tmp_path / "one").read_text(encoding="utf-8")
    assert "1 pair is alike." in text.replace("\u202f", " ")
    single = audit(make(tmp_path / "single", {"a": square(3)}))
    text = single.write(tmp_path / "two").read_text(encoding="utf-8")
    assert "no two are alike" in text
    assert Page(text).open == []
