"""`penumbra study prompts` from the command line: what it writes, says, and refuses."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.studies.prompts.smoke import smoke_document, smoke_model


def call(*arguments):
    return CliRunner().invoke(app, ["study", "prompts", *map(str, arguments)])


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A study without tunings, run once; its file, its folder, and what the verb gave."""
    folder = tmp_path_factory.mktemp("study_prompts_verb")
    document = smoke_document(smoke_model(folder / "model")) | {
        "source": "phantom:12", "tunings": {"zero-shot": {}}, "kinds": ["box"], "rules": False,
    }  # fmt: skip
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    found = call(file, "--out", folder / "out", "--filters", "none,sobel-mask", "--json")
    return file, folder / "out", found


def test_json_holds_the_tables(asked):
    _, out, found = asked
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (document["done"], document["problems"]) == (2, [])
    assert {row["filter"] for row in document["rows"]} == {"none", "sobel-mask"}
    assert {"report.html", "results.md", "results.json"} <= {path.name for path in out.iterdir()}


def test_people_read_where_it_stood_and_where_it_is(asked):
    file, out, _ = asked
    again = call(file, "--out", out, "--filters", "none,sobel-mask")
    assert again.exit_code == 0, again.output
    assert "0 pieces of work done, 2 were there." in again.stdout
    assert str(out / "report.html") in again.stdout
    tables = call(file, "--out", out, "--tables")
    assert "2 of 5 cells" in tables.stdout


def test_the_model_may_be_named_over_the_file(asked, tmp_path):
    file, _, _ = asked
    other = smoke_model(tmp_path / "other", seed=3)
    found = call(file, "--model", f"sam:{other}", "--out", tmp_path / "out", "--filters", "none",
                 "--json")  # fmt: skip
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["model"] == str(other)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a YAML file, --source or --smoke"),
        (("--smoke", "--source", "folder:x"), "a YAML file, --source or --smoke"),
        (("missing.yaml",), "no such file"),
        (("--source", "folder:x", "--model", "nowhere/at all"), "the model nowhere/at all"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_sentence(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = call(*arguments)
    assert found.exit_code == 1
    assert words in found.stderr
    assert "Traceback" not in found.output


def test_filters_that_do_not_exist_are_refused(asked):
    file, out, _ = asked
    found = call(file, "--out", out, "--filters", "sharpen")
    assert found.exit_code == 1
    assert "Expected --filters" in found.stderr
