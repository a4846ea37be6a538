"""The frame that all pages share: what it holds, what it forbids, how it escapes."""

import base64
import hashlib
import re

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from penumbra.pages import svg
from penumbra.pages.panels import fitted, panel, resized_mask
from penumbra.pages.render import render
from penumbra.pages.tables import Cell, Column, Table

BODY = """{% extends "page.html.j2" %}
{% from "parts.html.j2" import draw_table %}
{% block body %}<p>{{ words }}</p>{{ draw_table(table, "A table") }}{% endblock %}
"""
TABLE = Table((Column("Name", numeric=False), Column("Count")), ((Cell("<a>"), Cell("2")),), 1)


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "own.html.j2"
    path.write_text(BODY, encoding="utf-8")
    return path


def test_values_are_escaped_and_markup_is_not(template):
    text = render(template, title="<T>", words="a < b", table=TABLE)
    assert "<title>&lt;T&gt;</title>" in text
    assert "<p>a &lt; b</p>" in text
    assert "<span>&lt;a&gt;</span>" in text
    assert "<p><b>x</b></p>" in render(template, title="T", words=Markup("<b>x</b>"), table=TABLE)


def test_control_characters_of_names_are_drawn_as_symbols(template):
    text = render(template, title="a\x1b[31m", words="a\x00\x7f\tb\nc", table=TABLE)
    assert "<title>a␛[31m</title>" in text
    assert "<p>a␀␡\tb\nc</p>" in text


def test_only_the_pages_own_script_may_run(template):
    text = render(template, title="T", words="", table=TABLE)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_a_forgotten_value_is_an_error(template):
    with pytest.raises(UndefinedError, match="words"):
        render(template, title="T", table=TABLE)


def test_pictures_are_data_of_the_size_asked_for():
    made = panel("image", "Image", np.zeros((*fitted(30, 60, 40), 3), np.uint8))
    assert (made.width, made.height) == (40, 20)
    assert made.uri.startswith("data:image/jpeg;base64,")


def test_resizing_a_mask_invents_no_class():
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 3
    assert set(np.unique(resized_mask(mask, (17, 23)))) == {0, 3}


def test_values_outside_a_frame_lie_on_its_edge():
    frame = svg.Frame(x=(0, 1), y=(0, 1))
    assert frame.at(5, -5) == frame.at(1, 0)
    assert frame.at(0, 0) == (62.0, 244.0)
