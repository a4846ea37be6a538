"""`filters` at the top of an experiment file, for networks and for tunings alike."""

import pytest
import yaml

from penumbra.errors import SettingsError
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.tuning.settings import TuningExperiment
from penumbra.training.experiment import Experiment

LINE = "filters: [clahe, {sobel: {mode: blend, weight: 0.3}}]"
CHAIN = FilterChain.parse(["clahe", {"sobel": {"mode": "blend", "weight": 0.3}}])

both_kinds = pytest.mark.parametrize("kind", [Experiment, TuningExperiment])


@both_kinds
def test_the_bare_line_means_the_filters_of_the_images(kind, tmp_path):
    file = tmp_path / "experiment.yaml"
    file.write_text(LINE + "\n", encoding="utf-8")
    assert kind.read(file).image.filters == CHAIN
    # It is written where it belongs, and read again.
    written = yaml.safe_load(kind.read(file).to_yaml())
    assert "filters" not in written
    assert kind.parse(written).image.filters == CHAIN


@both_kinds
def test_it_stands_beside_other_settings_of_the_images(kind):
    others = {"size": 64} if kind is Experiment else {}
    found = kind.parse({"image": others, **yaml.safe_load(LINE)})
    assert found.image.filters == CHAIN
    assert all(getattr(found.image, key) == value for key, value in others.items())


@both_kinds
def test_both_forms_at_once_are_an_error(kind):
    with pytest.raises(SettingsError, match=r"(?s)given once.*leaving one of them out"):
        kind.parse({"filters": ["clahe"], "image": {"filters": []}})


@both_kinds
def test_the_command_line_takes_the_bare_form(kind):
    before = kind.parse({"image": {"filters": ["sobel"]}})
    assert before.with_settings(["filters=[clahe]"]).image.filters.names == ("clahe",)


@both_kinds
@pytest.mark.parametrize(
    ("document", "words"),
    [({"filter": ["clahe"]}, "'filters'"), ({"filters": ["clahee"]}, "clahe"),
     ({"filters": ["clahe"], "image": 3}, "section image")],
)  # fmt: skip
def test_mistakes_name_what_there_is(kind, document, words):
    with pytest.raises(SettingsError, match=words):
        kind.parse(document)


def test_other_sections_know_no_filters():
    with pytest.raises(SettingsError, match="known in section training"):
        Experiment.parse({"training": {"filters": ["clahe"]}})
