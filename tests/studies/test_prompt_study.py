"""The study of prompts: it runs, is cut off, goes on, and says what is true of its cells."""

import copy
import json
import shutil

import numpy as np
import pytest

from penumbra.data.assignment import select
from penumbra.errors import RunError, SettingsError, SourceError
from penumbra.evaluation.prompted import evaluate_prompts
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.studies.prompts.experiment import PromptStudyExperiment
from penumbra.studies.prompts.pictures import SIDE, read_picture
from penumbra.studies.prompts.places import NO_FILTER, PromptCell, open_study
from penumbra.studies.prompts.run import Scoring, Tuning, cells_of, plan, run_prompt_study
from penumbra.studies.prompts.scoring import is_scored, read_scores
from penumbra.studies.prompts.smoke import smoke_document, smoke_model
from penumbra.studies.prompts.tables import write_prompt_tables
from penumbra.studies.prompts.working_set import prepare, read_set


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return smoke_model(tmp_path_factory.mktemp("prompt_study") / "model")


@pytest.fixture
def document(model):
    """The study of these tests as plain values, to be changed."""
    return smaller(smoke_document(model))


def smaller(document):
    document = copy.deepcopy(document)
    for name in ("clahe", "channels"):
        del document["filters"][name]
    document["tunings"] = {
        "zero-shot": {},
        "decoder": {"mode": "decoder", "filters": ["none", "sobel-mask"]},
    }
    return document


@pytest.fixture(scope="module")
def finished(model, tmp_path_factory):
    """A study that ran from start to end, and what it said."""
    out = tmp_path_factory.mktemp("prompt_study") / "study"
    study = open_study(PromptStudyExperiment.parse(smaller(smoke_document(model))), out)
    return study, run_prompt_study(study)


@pytest.fixture(scope="module")
def results(finished):
    study, _ = finished
    return write_prompt_tables(study, resamples=100, command="penumbra study prompts x.yaml")


def opened(study, out, **changes):
    """The same study, changed, in another folder that holds what it made."""
    shutil.copytree(study.out, out)
    document = study.experiment.model_dump(mode="json") | changes
    return open_study(PromptStudyExperiment.parse(document), out)


class Cut(Exception):  # noqa: N818 - as a power cut
    """Stands for whatever kills a study."""


def cut_after(count):
    def progress(items, *, total, what):
        for number, item in enumerate(items, start=1):
            yield item
            if what == "study" and number == count:
                raise Cut

    return progress


def dice(study, cell):
    return [(image["id"], image["dice"]) for image in read_scores(study, cell).images]


def test_everything_asked_for_is_made(finished):
    study, went = finished
    assert (went.problems, went.left) == ((), 0)
    assert all(is_scored(study, cell) for cell in went.cells)
    assert went.made == len(plan(study, went.cells))
    # Rules take boxes alone; what is not tuned has one seed.
    assert {c.kind for c in went.cells if c.method == "grabcut"} == {"box"}
    assert {c.seed for c in went.cells if c.method == "zero-shot"} == {0}
    assert {c.seed for c in went.cells if c.method == "decoder"} == {0, 1}


def test_a_tuning_comes_before_its_scores_and_once_for_filters_of_equal_pixels(finished):
    study, went = finished
    work = plan(study, went.cells)
    tunings = [each for each in work if isinstance(each, Tuning)]
    # Edges as a prompt leave the pixels alone: that row asks the model tuned without a filter.
    assert [str(each) for each in tunings] == ["tune decoder/none/0", "tune decoder/none/1"]
    first = next(i for i, w in enumerate(work) if isinstance(w, Scoring)
                 and w.cells[0].method == "decoder")  # fmt: skip
    assert work.index(tunings[0]) < first


def test_scores_are_of_groups_that_no_tuning_saw(finished):
    study, _ = finished
    source, assignment = read_set(study.manifest)
    groups = {
        split: {r.group for r in select(source, assignment, split).records}
        for split in ("train", "val", "test")
    }
    assert not groups["test"] & (groups["train"] | groups["val"])
    cell = PromptCell("decoder", "none", "box", 1)
    assert {image["group"] for image in read_scores(study, cell).images} <= groups["test"]


def test_a_cell_is_what_evaluation_says_of_its_run(finished):
    study, _ = finished
    source, assignment = read_set(study.manifest)
    test, settings = select(source, assignment, "test"), study.experiment
    for cell, name in (
        (PromptCell("zero-shot", "sobel-blend", "point2", 0), settings.model),
        (PromptCell("decoder", "none", "box", 1), study.run("decoder", "none", 1)),
    ):
        segmenter = PromptableSegmenter.from_pretrained(name, filters=study.chain(cell.filter))
        found = evaluate_prompts(
            segmenter, test, kinds=[cell.kind], least_area=settings.least_area,
            most_objects=settings.most_objects, resamples=1,
        )  # fmt: skip
        wanted = [image.dice for image in found.images]
        # Kept embeddings have 16 bits.
        assert [value for _, value in dice(study, cell)] == pytest.approx(wanted, abs=0.02)


def test_images_are_encoded_once_for_the_model_and_all_its_decoders(finished):
    study, _ = finished
    source, _ = read_set(study.manifest)
    kept = [path for path in study.embeddings.rglob("*") if path.is_file()]
    # Filters `none` and `sobel-mask` share pixels; `sobel-blend` was not tuned with.
    test = len({image["id"] for image in
                read_scores(study, PromptCell("zero-shot", "none", "box", 0)).images})  # fmt: skip
    assert len(kept) <= len(source) + test
    assert not (study.run("decoder", "none", 0) / "embeddings").exists()


def test_a_second_start_has_nothing_to_do(finished):
    study, went = finished
    again = run_prompt_study(study)
    assert (again.made, again.kept) == (0, went.made)


def test_a_study_that_was_cut_off_goes_on_where_it_stood(finished, document, tmp_path):
    study, _ = finished
    document["tunings"] = {"zero-shot": {}}
    fresh = open_study(PromptStudyExperiment.parse(document), tmp_path / "study")
    with pytest.raises(Cut):
        run_prompt_study(fresh, progress=cut_after(4))
    there = [cell for cell in cells_of(fresh) if is_scored(fresh, cell)]
    assert 0 < len(there) < len(cells_of(fresh))
    again = run_prompt_study(fresh)
    assert again.problems == ()
    assert again.kept == 4
    cell = PromptCell("zero-shot", "sobel-mask", "box", 0)
    assert dice(fresh, cell) == dice(study, cell)


def test_a_further_kind_of_prompt_is_all_that_is_made(finished, tmp_path):
    study, went = finished
    other = opened(study, tmp_path / "study", kinds=["box", "point2", "jittered-box"])
    before = {cell: other.cell(cell).stat().st_mtime_ns for cell in went.cells}
    again = run_prompt_study(other, tunings=["zero-shot"], filters=["none"])
    assert again.problems == ()
    assert is_scored(other, PromptCell("zero-shot", "none", "jittered-box", 0))
    assert {cell: other.cell(cell).stat().st_mtime_ns for cell in went.cells} == before


def test_a_damaged_cell_and_a_changed_filter_are_made_again(finished, tmp_path):
    study, _ = finished
    filters = study.experiment.model_dump(mode="json")["filters"]
    filters["sobel-blend"] = [{"sobel": {"mode": "blend", "weight": 0.6}}]
    other = opened(study, tmp_path / "study", filters=filters)
    damaged = PromptCell("zero-shot", "none", "box", 0)
    other.cell(damaged).write_text(other.cell(damaged).read_text()[:100])
    stale = [cell for cell in cells_of(other) if not is_scored(other, cell)]
    assert {(c.method, c.filter) for c in stale} == {
        ("zero-shot", "sobel-blend"), ("zero-shot", "none")
    }  # fmt: skip
    again = run_prompt_study(other, tunings=["zero-shot"])
    assert again.made == 2
    assert dice(other, damaged) == dice(study, damaged)


def test_a_bad_image_is_left_out_and_said(finished, tmp_path, document):
    study, _ = finished
    shutil.copytree(study.out / "phantoms", tmp_path / "phantoms")
    (tmp_path / "phantoms" / "images" / "xray_00003.png").write_bytes(b"no image")
    document |= {"source": "folder:phantoms", "tunings": {"zero-shot": {}}, "rules": False}
    other = open_study(PromptStudyExperiment.parse(document), tmp_path / "out", tmp_path)
    went = run_prompt_study(other, filters=["none"])
    found = write_prompt_tables(other, filters=["none"], resamples=10)
    assert went.problems == ()
    assert found["done"] == len(went.cells) == 2
    assert [f["samples"] for f in found["findings"] if f["severity"] == "error"] == [["xray_00003"]]


def test_an_image_that_is_damaged_later_stops_no_cell(finished, tmp_path):
    study, _ = finished
    other = opened(study, tmp_path / "study")
    cell = PromptCell("zero-shot", "none", "box", 0)
    name = read_scores(other, cell).images[0]["id"]
    (other.working_set / "images" / f"{name}.png").write_bytes(b"no image")
    other.cell(cell).unlink()
    went = run_prompt_study(other, tunings=["zero-shot"], filters=["none"])
    assert went.problems == ()
    again = read_scores(other, cell)
    errors = [finding for finding in again.findings if finding["severity"] == "error"]
    assert [finding["samples"] for finding in errors] == [[name]]
    assert len(again.images) == len(read_scores(study, cell).images) - 1


def test_a_tuning_that_fails_stops_no_other(finished, tmp_path):
    study, _ = finished
    tunings = {
        "zero-shot": {},
        "decoder": {"mode": "decoder", "set": ["training.epochs=2"], "filters": ["none"]},
    }
    other = opened(study, tmp_path / "study", tunings=tunings)
    went = run_prompt_study(other)
    # The run of one epoch lies there, and is not adopted for one of two.
    assert {str(step.work) for step in went.problems} == {
        "tune decoder/none/0", "tune decoder/none/1"
    }  # fmt: skip
    assert "training.epochs" in went.problems[0].problem
    assert is_scored(other, PromptCell("zero-shot", "none", "box", 0))
    found = write_prompt_tables(other, resamples=10)
    assert {row["method"] for row in found["rows"]} == {
        "zero-shot", "filled-box", "inscribed-ellipse", "grabcut"
    }  # fmt: skip


def test_another_source_wants_another_folder(finished, tmp_path):
    study, _ = finished
    other = opened(study, tmp_path / "study", longest=48)
    with pytest.raises(SourceError, match="another --out"):
        prepare(other)


def test_weights_of_another_model_are_not_mixed_in(finished, tmp_path):
    study, _ = finished
    another = smoke_model(tmp_path / "model", seed=1)
    other = opened(study, tmp_path / "study", model=str(another))
    assert other.weights != study.weights
    went = run_prompt_study(other, filters=["none"], tunings=["decoder"])
    assert all("other weights" in step.problem for step in went.problems)
    assert len(went.problems) == 2
    with pytest.raises(RunError, match="other weights"):
        is_scored(other, PromptCell("decoder", "none", "box", 0))


def test_no_more_is_begun_when_the_time_is_up(finished, tmp_path):
    study, _ = finished
    other = opened(study, tmp_path / "study", hours=1e-12)
    went = run_prompt_study(other)
    assert (went.made, went.left) == (0, len(plan(other, went.cells)))


def test_large_images_are_shrunk_once_and_limits_count_groups(model, document, tmp_path):
    document |= {"longest": 40, "groups": {"train": 1, "test": 1}, "tunings": {"zero-shot": {}}}
    study = open_study(PromptStudyExperiment.parse(document), tmp_path / "study")
    source, assignment = read_set(prepare(study))
    assert {source[i].image.shape[:2] for i in range(len(source))} == {(40, 40)}
    assert set(np.unique(source[0].mask)) <= {0, 1}
    for split in ("train", "test"):
        assert len({r.group for r in select(source, assignment, split).records}) == 1


def test_every_cell_has_a_picture(finished):
    study, went = finished
    for cell in went.cells:
        picture = read_picture(study.picture(cell))
        assert picture is not None
        assert max(picture.shape) == SIDE
    box = read_picture(study.picture(PromptCell("filled-box", NO_FILTER, "box", 0)))
    ellipse = read_picture(study.picture(PromptCell("inscribed-ellipse", NO_FILTER, "box", 0)))
    assert not np.array_equal(box, ellipse)


def test_the_files_say_what_the_cells_say(finished, results):
    study, _ = finished
    assert json.loads((study.out / "results.json").read_text())["rows"][0]["method"] == "filled-box"
    row = next(r for r in results["rows"] if (r["method"], r["filter"], r["kind"]) == (
        "decoder", "none", "box"))  # fmt: skip
    cells = [PromptCell("decoder", "none", "box", seed) for seed in (0, 1)]
    means = [np.mean([value for _, value in dice(study, cell)]) for cell in cells]
    assert row["metrics"]["dice"]["by_seed"] == pytest.approx(means)
    assert row["metrics"]["dice"]["mean"] == pytest.approx(np.mean(means))
    text = (study.out / "results.md").read_text()
    assert f"| none | {_mean(results, 'zero-shot', 'none'):.3f} (" in text
    page = (study.out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image/jpeg") == len(
        {(r["method"], r["filter"], r["kind"]) for r in results["rows"]}
    )


def _mean(results, method, filter_name):
    return next(
        r["metrics"]["dice"]["mean"] for r in results["rows"]
        if (r["method"], r["filter"], r["kind"]) == (method, filter_name, "box")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [({"tunings": ["full"]}, "--tunings"), ({"filters": ["cany"]}, "--filters"),
     ({"jobs": 0}, "--jobs")],
)  # fmt: skip
def test_bad_options_are_refused(finished, options, words):
    study, _ = finished
    with pytest.raises(SettingsError, match=f"^Expected {words}"):
        run_prompt_study(study, **options)
