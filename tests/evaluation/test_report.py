"""The report: one file that loads nothing, says what was measured, and survives odd input."""

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from penumbra.data.sample import Finding
from penumbra.errors import StorageError
from penumbra.evaluation.cases import Case
from penumbra.evaluation.evaluate import evaluate
from penumbra.evaluation.report import (
    ReportData,
    ReportPicture,
    images_to_show,
    pictures,
    tables,
    write_report,
)
from penumbra.evaluation.report.scores import scored_rows
from penumbra.evaluation.report.tables import per_class
from penumbra.inference.prediction import Prediction, entropy

NASTY = "<script>alert('x')</script>\"&"


def predict(truth, *, n_classes=2, wrong=0.0, seed=0, names=()):
    """A prediction whose probabilities lean to the truth, or away from it."""
    rng = np.random.default_rng(seed)
    known = np.where(truth == 255, 0, truth)
    lean = np.eye(n_classes)[known].transpose(2, 0, 1) * (4 - 6 * wrong)
    logits = lean + rng.normal(0, 1.2, lean.shape)
    shares = np.exp(logits)
    probabilities = (shares / shares.sum(axis=0)).astype(np.float32)
    mask = probabilities.argmax(axis=0).astype(np.uint8)
    doubt = {"entropy": entropy(probabilities)}
    return Prediction(probabilities, mask, doubt, class_names=names)


def disc(shape, radius):
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (x - shape[1] / 2) ** 2 + (y - shape[0] / 2) ** 2 <= radius**2
    return inside.astype(np.uint8)


def make_data(*, n=6, n_classes=2, shape=(40, 52), ids=None, names=None, empty="one", **more):
    names = names or ("background", *(f"class {k}" for k in range(1, n_classes)))
    rng = np.random.default_rng(3)
    cases, images = [], {}
    for k in range(n):
        name = ids[k] if ids else f"image_{k}"
        truth = disc(shape, 3.0 * k)
        if n_classes > 2:
            truth = np.where(truth > 0, rng.integers(0, n_classes, shape), 0).astype(np.uint8)
        prediction = predict(truth, n_classes=n_classes, wrong=k / n / 2, seed=k, names=names)
        cases.append(Case(name, f"group {k // 2}", truth, prediction))
        images[name] = (rng.integers(0, 255, (*shape, 3)).astype(np.uint8), truth, prediction)
    found = evaluate(cases, class_names=names, empty=empty, resamples=20)
    shown = tuple(
        ReportPicture(image.id, role, {"dice": image.dice, "hd95": image.hd95}, *images[image.id])
        for image, role in images_to_show(found)
    )
    settings_ = {
        "title": "A title",
        "run_name": "runs/a",
        "source_name": "phantom",
        "split": "test",
        "n_images": found.n_images,
        "n_groups": found.n_groups,
        "overall": found.overall,
        "per_class": found.per_class,
        "class_names": names,
        "per_image": found.to_frame().to_dict("records"),
        "reliability": [vars(row) for row in found.reliability],
        "pictures": shown,
        "history": [
            {"epoch": k, "loss": 1 / (k + 1), **({"validation_dice": k / 9} if k % 2 else {})}
            for k in range(8)
        ],
        "command": "penumbra evaluate runs/a phantom --split test",
        "versions": {"penumbra": "0.1.0"},
        "seeds": {"split": 3},
    }
    return ReportData(**{**settings_, **more})


class Page(HTMLParser):
    """What the page holds: tags with attributes, and text by the tag it lies in."""

    VOID = frozenset({"meta", "img", "input", "link", "br"})

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.text, self.open = [], {}, []
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"unbalanced </{tag}>"

    def handle_data(self, data):
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self, tag):
        return " ".join(" ".join(self.text.get(tag, [])).split())


@pytest.fixture
def page(tmp_path):
    def write(data):
        return Page(write_report(tmp_path / "new" / "report.html", data))

    return write


def test_the_page_loads_nothing_from_anywhere(page):
    written = page(make_data())
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]{2,}", written.source)
    assert addresses == []
    for tag, attributes in written.tags:
        assert tag not in {"link", "iframe", "object", "base"}
        for name in ("src", "href", "srcset", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/jpeg;base64,", "#"))
    policy = next(m["content"] for m in written.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")


def test_the_policy_lets_exactly_our_script_run(page):
    import hashlib

    written = page(make_data())
    (script,) = re.findall(r"<script>(.*?)</script>", written.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in written.source


def test_the_first_words_are_the_sentence_and_three_figures(page):
    data = make_data()
    written = page(data)
    assert "On 6 test images from 3 groups" in written.words("h1")
    assert f"{data.overall['dice']['mean']:.3f}" in written.words("h1")
    headings = written.words("h2")
    assert headings.startswith("Dice Boundary F1 ECE")


def test_iou_stands_in_where_the_boundary_was_not_measured(page):
    data = make_data()
    overall = {name: value for name, value in data.overall.items() if name != "boundary_f1"}
    assert page(replace(data, overall=overall)).words("h2").startswith("Dice IoU ECE")


def test_large_pictures_show_image_errors_doubt_and_probability(page):
    written = page(make_data())
    titles = [image["alt"].split(" of image_")[0] for image in written.all("img")][:12]
    assert titles == ["Image", "Mask against truth", "Probability", "Doubt"] * 3
    for image in written.all("img"):
        if image.get("data-plain"):
            assert any(other.get("id") == image["data-plain"] for other in written.all("img"))
    assert "nats" in written.words("b")


def test_embedded_pictures_are_small_and_keep_their_shape(page):
    written = page(make_data(shape=(40, 80)))
    for image in written.all("img"):
        if "src" not in image:
            continue
        data = base64.b64decode(image["src"].split(",")[1])
        with Image.open(io.BytesIO(data)) as opened:
            assert max(opened.size) <= pictures.LONGEST_SIDE
            assert opened.width == 2 * opened.height
            assert [str(side) for side in opened.size] == [image["width"], image["height"]]


def test_pictures_full_of_noise_are_embedded_too(page):
    noise = np.random.default_rng(0).integers(0, 255, (640, 640, 3)).astype(np.uint8)
    truth = noise[..., 0] % 2
    probabilities = np.stack([1.0 - truth, truth]).astype(np.float32)
    shown = ReportPicture("a", "worst", {}, noise, truth, Prediction(probabilities, truth, {}))
    (first, *_) = pictures.gallery([shown]).large[0].panels
    with Image.open(io.BytesIO(base64.b64decode(first.uri.split(",")[1]))) as opened:
        difference = np.asarray(opened, dtype=np.float32) - noise
    assert np.abs(difference).mean() < 12


def test_ids_and_names_are_shown_and_never_run(page):
    ids = [f"{NASTY}{k}" for k in range(6)]
    finding = Finding(NASTY, "error", (NASTY,), NASTY)
    data = make_data(
        ids=ids, names=("background", NASTY), title=NASTY, run_name=NASTY, command=NASTY,
        versions={NASTY: NASTY}, seeds={NASTY: 1}, findings=(finding,), model_summary=NASTY,
        history=[{"epoch": 0, f"loss{NASTY}": 1.0}],
    )  # fmt: skip
    written = page(data)
    assert len(written.all("script")) == 1
    assert NASTY in written.words("title")
    assert any(NASTY in cell.get("title", "") for cell in written.all("td"))
    for _, attributes in written.tags:
        assert not any(name.startswith("on") for name in attributes)


def test_long_ids_do_not_break_the_page(page):
    ids = [f"{'very-long-name-' * 20}{k}" for k in range(6)]
    assert ids[0] in page(make_data(ids=ids)).source


def test_eleven_classes_get_a_legend_and_their_own_map(page):
    written = page(make_data(n_classes=11))
    titles = {image["alt"].split(" of image_")[0] for image in written.all("img")}
    assert titles >= {"Mask", "Probability of the chosen class"}
    assert "another class" in written.words("li")
    assert "class 10" in written.words("li")
    assert "The most possible is 2.398." in written.words("p")


@pytest.mark.parametrize(("n_classes", "rows"), [(2, False), (11, True)])
def test_many_classes_are_rows_and_few_are_columns(n_classes, rows):
    data = make_data(n_classes=n_classes)
    table = per_class(data)
    first = {row[0].text for row in table.rows}
    assert (set(data.per_class) <= first) == rows
    assert len(table.columns) <= 8


@pytest.mark.parametrize("empty", ["one", "nan", "skip"])
def test_one_image_is_enough(page, empty):
    written = page(make_data(n=1, empty=empty))
    assert "On 1 test image" in written.words("h1")


def test_images_of_any_type_and_truth_with_ignored_pixels(page):
    truth = disc((30, 30), 9)
    truth[:5] = 255
    prediction = predict(truth)
    shown = tuple(
        ReportPicture(f"{k}", role, {"dice": 0.5}, image, truth if k else None, prediction)
        for k, (role, image) in enumerate(
            [
                ("best", np.zeros((30, 30), np.uint8)),
                ("median", np.full((30, 30, 1), 40_000, np.uint16)),
                ("worst", np.full((30, 30, 3), np.nan, np.float32)),
            ]
        )
    )
    written = page(replace(make_data(), pictures=shown))
    assert "not counted" in written.words("li")
    assert any(image["alt"] == "Mask of 0" for image in written.all("img"))


def test_what_is_undefined_is_a_dash_and_never_nan(page):
    nothing = {"mean": math.nan, "low": None, "high": math.nan}
    data = make_data()
    rows = [{"id": "a", "group": "g", "dice": math.nan, "hd95": None, "iou": 0.5}]
    written = page(
        replace(data, overall={**data.overall, "dice": nothing}, per_image=rows, pictures=())
    )
    assert "no overlap could be measured" in written.words("h1")
    assert "–" in written.words("p")
    assert "nan" not in re.sub(
        r"<style>.*?</style>|<script>.*", "", written.source, flags=re.DOTALL
    )


def test_a_report_of_nothing_but_numbers_of_images_still_stands(page):
    bare = ReportData(
        title="t", run_name="r", source_name="s", split="", n_images=0, n_groups=0, overall={}
    )
    written = page(bare)
    assert "How to repeat it" in written.words("h2")
    assert [image for image in written.all("img") if "src" in image] == []


def test_an_unwritable_place_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="Try another --out"):
        write_report(tmp_path / "file" / "report.html", make_data(n=1))


def test_the_same_data_give_the_same_page(tmp_path):
    first = write_report(tmp_path / "a.html", make_data()).read_bytes()
    assert write_report(tmp_path / "b.html", make_data()).read_bytes() == first


def test_pictures_shrink_before_the_page_grows_too_large(monkeypatch):
    data = make_data()
    full = pictures.gallery(data.pictures)
    monkeypatch.setattr(pictures, "MOST_BYTES", 400_000)
    small = pictures.gallery(data.pictures)
    assert full.large[0].panels[0].width == 640
    assert small.large[0].panels[0].width == 320


def test_no_more_than_ten_of_the_worst_are_drawn():
    truth = disc((16, 16), 5)
    many = [
        ReportPicture(str(k), "worst", {}, truth * 200, truth, predict(truth)) for k in range(14)
    ]
    drawn = pictures.gallery(many)
    assert [shown.id for shown in drawn.worst] == [str(k) for k in range(10)]
    assert len(drawn.large) == 1


def test_the_best_image_shows_something_and_none_is_shown_twice():
    truths = {
        "nothing": np.zeros((20, 20), np.uint8),
        "good": disc((20, 20), 6),
        "bad": disc((20, 20), 4),
    }
    masks = {"nothing": truths["nothing"], "good": disc((20, 20), 5.5), "bad": disc((20, 20), 1)}
    cases = []
    for name, truth in truths.items():
        share = np.where(masks[name] > 0, 0.9, 0.1).astype(np.float32)
        probabilities = np.stack([1 - share, share])
        cases.append(Case(name, name, truth, Prediction(probabilities, masks[name], {})))
    found = evaluate(cases, class_names=("a", "b"), resamples=5)
    chosen = [(image.id, role) for image, role in images_to_show(found)]
    assert chosen[0] == ("good", "best")
    assert ("bad", "worst") in chosen
    assert len({name for name, _ in chosen}) == len(chosen)


def test_rows_of_the_background_and_columns_of_nothing_are_left_out():
    rows = scored_rows(make_data().per_image)
    assert {row["class"] for row in rows} == {"class 1"}
    assert "hd95_mm" not in rows[0]
    assert "scored" not in rows[0]


def test_tables_sort_by_number_and_keep_the_lowest_when_cut(monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 2)
    rows = [
        {"id": name, "dice": value}
        for name, value in zip("abcd", [0.9, 0.1, math.nan, 0.5], strict=True)
    ]
    table = tables.per_image(rows)
    assert [cells[0].text for cells in table.rows] == ["b", "d"]
    assert table.total == 4
    assert float(table.rows[0][1].key) == 0.1


@settings(max_examples=25, deadline=None)
@given(hnp.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 1, 2, 255])))
def test_masks_keep_their_classes_when_drawn_larger(mask):
    data = ReportPicture(
        "a", "worst", {}, np.zeros((7, 9), np.uint8), mask, predict(mask, n_classes=3)
    )
    drawn = pictures.draw(data, side=90, maps=True)
    assert {panel.kind for panel in drawn.panels} == {
        "image", "classes", "mask", "truth", "doubt", "probability",
    }  # fmt: skip
    assert {(panel.width, panel.height) for panel in drawn.panels} == {(90, 70)}
