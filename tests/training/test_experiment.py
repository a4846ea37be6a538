import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.training.experiment import Experiment
from penumbra.training.module import learning_rate_factor


def test_yaml_round_trip(tmp_path):
    experiment = Experiment(source="folder:a").with_settings(
        ["training.loss=tversky", "split.fractions=[0.6,0.2,0.2]", "model.arguments.width=8"]
    )
    path = tmp_path / "experiment.yaml"
    path.write_text(experiment.to_yaml(), encoding="utf-8")
    assert Experiment.read(path) == experiment
    assert experiment.model.arguments == {"width": 8}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainig: {}", "'training'"),
        ("training: {lerning_rate: 1}", "'learning_rate'"),
        ("training: {loss: dise}", "training.loss"),
        ("training: {epochs: 0}", "greater than or equal to 1"),
        ("image: [1]", "(size, fit, channels, filters, "),
        ("training: 3", "section training in"),
        ("training: 3", "lines of `key: value`, but got 3. Try giving its keys (optimizer, "),
        ("just text", "sections of `key: value`"),
        ("[1, 2]", "sections of `key: value`, but got [1, 2]. Try a line `training:`"),
        ("a: [1", "readable YAML"),
        ("version: 99", "upgrading Penumbra"),
    ],
)
def test_mistakes_in_the_yaml_are_named(tmp_path, text, said):
    path = tmp_path / "e.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Experiment.read(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith("Expected ")
    assert "Try " in str(caught.value)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(SettingsError, match=r"but got no such file. Try checking the path\."):
        Experiment.read(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="readable YAML"):
        Experiment.read(tmp_path / "b.yaml")


@pytest.mark.parametrize("change", ["training.loss", "=3", "no.such.key=1", "training.loss=[1"])
def test_wrong_changes_are_refused(change):
    with pytest.raises(SettingsError, match=r"Expected .* Try "):
        Experiment().with_settings([change])


@given(st.sampled_from(["one_cycle", "cosine", "poly", "constant"]), st.floats(-1, 2))
def test_the_learning_rate_stays_between_its_ends(schedule, progress):
    assert 0 < learning_rate_factor(schedule, progress) <= 1
