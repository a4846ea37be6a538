"""Studies that run, are cut off, go on, and take over what is there."""

import json
import shutil

import numpy as np
import pytest

from penumbra.errors import SettingsError
from penumbra.studies.cell import compute, is_done, read_cell
from penumbra.studies.draws import draw_metrics
from penumbra.studies.experiment import StudyExperiment
from penumbra.studies.grid import Evaluation, Training, cells_of, plan
from penumbra.studies.places import Cell, Network, Study
from penumbra.studies.run import run_study
from penumbra.studies.tables import results_of, write_tables


class Cut(Exception):  # noqa: N818 - as a power cut
    """Stands for whatever kills a study."""


def cut_after(count):
    """A progress that dies after some pieces of work."""

    def progress(items, *, total, what):
        for number, item in enumerate(items, start=1):
            yield item
            if number == count:
                raise Cut

    return progress


def numbers(study, cell):
    """A cell's metrics and images without the clock, to the digits that OpenCV repeats."""
    result = read_cell(study, cell)
    metrics = draw_metrics(result, np.ones((1, len(result.groups))))[0]
    scores = [list(image["scores"].values()) for image in result.images]
    return pytest.approx([*metrics, *np.ravel(scores)], rel=1e-6, nan_ok=True)


def moved(study, out, **changes):
    """The same study with its networks in another folder."""
    for part in ("runs", "manifests", "phantoms"):
        shutil.copytree(study.out / part, out / part)
    experiment = StudyExperiment.parse(json.loads(study.experiment.model_dump_json()) | changes)
    return Study(experiment, out, out)


def test_everything_asked_for_is_made_in_order(finished):
    study, went = finished
    assert (went.problems, went.left) == ((), 0)
    works = plan(study, went.cells)
    assert went.made == len(works)
    assert works[:2] == (
        Training(Network("phantom", "plain", 0)), Evaluation(Cell("phantom", "plain", 0)),
    )  # fmt: skip
    assert [str(cell) for cell in went.cells] == [
        "phantom/plain/0/clean", "phantom/plain/1/clean",
        "phantom/dropout/0/clean", "phantom/dropout/1/clean",
        "phantom/ensemble/0/clean",
        "phantom/plain/0/rotation-3", "phantom/plain/1/rotation-3",
    ]  # fmt: skip
    assert all(is_done(study, cell) for cell in went.cells)


def test_a_second_start_has_nothing_to_do(finished):
    study, went = finished
    times = {cell: study.cell(cell).stat().st_mtime_ns for cell in went.cells}
    again = run_study(study)
    assert (again.made, again.kept) == (0, went.made)
    assert times == {cell: study.cell(cell).stat().st_mtime_ns for cell in went.cells}


def test_a_study_that_was_cut_off_goes_on_where_it_stood(finished, tmp_path):
    study, went = finished
    other = moved(study, tmp_path)
    with pytest.raises(Cut):
        run_study(other, progress=cut_after(4))
    there = [cell for cell in went.cells if other.cell(cell).is_file()]
    assert 0 < len(there) < len(went.cells)
    assert not list(tmp_path.rglob("*.part*"))
    again = run_study(other)
    assert again.kept == 2 + len(there)
    assert again.made == len(went.cells) - len(there)
    for cell in went.cells:
        assert numbers(other, cell) == numbers(study, cell).expected


def test_a_half_written_cell_is_made_again(finished, tmp_path):
    study, went = finished
    other = moved(study, tmp_path)
    cell = went.cells[0]
    compute(other, cell)
    text = other.cell(cell).read_text()
    other.cell(cell).write_text(text[: len(text) // 2])
    assert not is_done(other, cell)
    assert run_study(other, rows=["plain"]).problems == ()
    assert numbers(other, cell) == numbers(study, cell).expected


def test_a_changed_row_is_made_again_and_no_other(finished, tmp_path):
    study, went = finished
    other = moved(study, tmp_path)
    shutil.copytree(study.out / "cells", tmp_path / "cells")
    rows = json.loads(study.experiment.model_dump_json())["rows"]
    rows[2]["sampler"] = "dropout:3@0.2"
    changed = Study(
        StudyExperiment.parse(json.loads(other.experiment.model_dump_json()) | {"rows": rows}),
        tmp_path, tmp_path,
    )  # fmt: skip
    again = run_study(changed)
    assert again.made == 2
    assert [cell.row for cell in went.cells if not is_done(other, cell)] == ["dropout", "dropout"]


def test_missing_networks_are_said_where_no_training_is_wanted(finished, tmp_path):
    study, _ = finished
    other = moved(study, tmp_path)
    shutil.rmtree(tmp_path / "runs" / "phantom" / "plain-1")
    went = run_study(other, training=False)
    assert [str(step.work) for step in went.problems] == ["train phantom/plain-1"]
    done = {str(cell) for cell in went.cells if is_done(other, cell)}
    assert done == {
        "phantom/plain/0/clean", "phantom/dropout/0/clean", "phantom/plain/0/rotation-3",
    }  # fmt: skip
    results = results_of(other, went.cells, resamples=20)
    assert results["sets"]["phantom"]["clean"]["rows"]["plain"]["seeds"] == [0]


def test_a_network_of_other_settings_is_not_adopted(finished, tmp_path):
    study, _ = finished
    experiment = {"training": {"epochs": 7, "samples_per_epoch": 16, "validate_every": 1}}
    other = moved(study, tmp_path, experiment=experiment)
    went = run_study(other)
    assert len(went.problems) == 2
    assert "Expected training.epochs of the run" in went.problems[0].problem
    assert not (tmp_path / "cells").exists()


def test_a_set_is_divided_as_the_networks_that_are_there(finished, tmp_path):
    study, _ = finished
    shutil.copytree(study.out / "runs", tmp_path / "runs")
    shutil.copytree(study.out / "phantoms", tmp_path / "phantoms")
    other = Study(study.experiment, tmp_path, tmp_path)
    went = run_study(other, rows=["plain"])
    assert went.problems == ()
    split = [line.split(",")[:3] for line in other.manifest("phantom").read_text().splitlines()]
    own = [line.split(",")[:3] for line in study.manifest("phantom").read_text().splitlines()]
    assert split == own


def test_limits_spread_over_a_split(finished):
    study, went = finished
    assert len(read_cell(study, went.cells[0]).images) == 9


def test_no_more_is_begun_when_the_time_is_up(finished, tmp_path):
    study, _ = finished
    other = moved(study, tmp_path, hours=1e-12)
    went = run_study(other)
    assert went.made == 0
    assert went.left == len(plan(other, went.cells))


@pytest.mark.slow
def test_processes_give_the_same_numbers(finished, tmp_path):
    study, went = finished
    other = moved(study, tmp_path)
    again = run_study(other, jobs=2)
    assert again.problems == ()
    for cell in went.cells:
        assert numbers(other, cell) == numbers(study, cell).expected


@pytest.mark.parametrize("options", [{"sets": ["isbi"]}, {"rows": ["plane"]}, {"jobs": 0}])
def test_bad_options_are_refused(finished, options):
    study, _ = finished
    with pytest.raises(SettingsError, match=r"^Expected --.* Try .*\.$"):
        run_study(study, **options)


def test_tables_say_what_is_there(finished):
    study, went = finished
    results = write_tables(study, resamples=50)
    assert results["done"] == len(went.cells)
    clean = results["sets"]["phantom"]["clean"]["rows"]
    assert list(clean) == ["plain", "dropout", "ensemble"]
    assert clean["dropout"]["metrics"]["joint_nll"]["mean"] > 0
    assert clean["dropout"]["metrics"]["disagreement_share"]["mean"] > 0
    assert "disagreement_share" not in clean["plain"]["metrics"]
    assert clean["plain"]["metrics"]["expected_nll"]["mean"] > 0
    found = clean["ensemble"]["against"]["plain"]["nll"]
    mean = clean["ensemble"]["metrics"]["nll"]["mean"] - clean["plain"]["metrics"]["nll"]["mean"]
    assert found["mean"] == pytest.approx(mean)
    rotated = results["sets"]["phantom"]["rotation-3"]["rows"]["plain"]["metrics"]
    assert "expected_nll" not in rotated
    text = (study.out / "results.md").read_text()
    assert "Difference from `plain`" in text
    assert "| `ensemble` | 1 |" in text


def test_only_some_rows_and_sets(finished):
    study, _ = finished
    assert {cell.row for cell in cells_of(study, rows=["dropout"])} == {"dropout"}
    assert cells_of(study, sets=[]) == ()
