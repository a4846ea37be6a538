"""Study files: what they say, and what is said about bad ones."""

import pytest
import yaml

from penumbra.errors import SettingsError
from penumbra.studies.experiment import CalibrationChoice, StudyExperiment
from penumbra.studies.smoke import smoke_document


def changed(document, *path, to):
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return document


BAD = [
    (("sets",), [], "sets"),
    (("sets", 0, "name"), "a/b", "letters, digits"),
    (("sets", 0, "sorce"), "x", "sorce"),
    (("sets", 0, "image", "size"), 3, "sets.0.image.size"),
    (("rows", 1, "sampler"), "nois:8", "sampler"),
    (("rows", 1, "kind"), "plane", "'plain'"),
    (("rows", 1, "name"), "plain", "'plain' twice"),
    (("rows", 1, "calibration"), {"temprature": "local"}, "temprature"),
    (("rows", 1, "calibration"), {"pattern": "worley"}, "pattern"),
    (("baselines",), ["plian"], "'plain'"),
    (("shifts", "cells"), ["fog:3"], "fog"),
    (("shifts", "rows"), ["nothing"], "nothing"),
    (("kinds", "plain"), {"set": ["training.epoch=3"]}, "epoch"),
    (("experiment",), {"trainin": {}}, "trainin"),
    (("hours",), 0, "hours"),
    (("version",), 99, "upgrading"),
    (("seeds",), [], "seeds"),
]


@pytest.mark.parametrize(("path", "to", "says"), BAD, ids=[f"{b[0][-1]}-{b[2]}" for b in BAD])
def test_bad_files_say_what_is_wrong(document, tmp_path, path, to, says):
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(changed(document, *path, to=to)))
    with pytest.raises(SettingsError, match=r"(?s)^Expected .* Try .*\.$") as error:
        StudyExperiment.read(file)
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["a: [", "just text", "- 1"])
def test_files_that_are_no_study(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError, match="Expected"):
        StudyExperiment.read(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        StudyExperiment.read(tmp_path / "none.yaml")


def test_a_set_and_a_kind_change_the_training(document):
    document["kinds"]["wide"] = {"set": ["model.arguments.width=8", "training.loss=ce"]}
    study = StudyExperiment.parse(document)
    plain = study.training_of(study.sets[0], "plain", 3)
    wide = study.training_of(study.sets[0], "wide", 3)
    assert (plain.model.arguments["width"], wide.model.arguments["width"]) == (4, 8)
    assert (plain.training.seed, plain.training.epochs, wide.training.loss) == (3, 2, "ce")
    assert plain.image.fit == "resize"


def test_choices_of_calibration_have_names_of_their_own():
    choices = [
        CalibrationChoice(),
        CalibrationChoice(temperature="local"),
        CalibrationChoice(noise=True),
        CalibrationChoice(noise=True, sites="encoder"),
        CalibrationChoice(noise=True, pattern="perlin"),
        CalibrationChoice(noise=True, length=8),
        CalibrationChoice(noise=True, n_eff=4),
        CalibrationChoice(noise=True, gates="input"),
        CalibrationChoice(logit_noise=True),
    ]
    names = [choice.name for choice in choices]
    assert len(set(names)) == len(names)


def test_the_smoke_study_is_a_study():
    assert StudyExperiment.parse(smoke_document()).rows
