"""The notebook about pneumonia: committed without outputs, and run cell by cell on tiny data.

Its code is plain Python, so it needs no kernel here: what a kernel adds, showing the value of a
cell's last line, changes nothing that a later cell sees.
"""

import json
from pathlib import Path

import matplotlib as mpl
import pytest

from penumbra.data.export import export_source
from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.studies.prompts.smoke import smoke_model

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "pneumonia.ipynb"
DOCUMENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = [cell for cell in DOCUMENT["cells"] if cell["cell_type"] == "code"]

GRID = {
    "kinds": ["box"],
    "filters": {"none": [], "sobel-mask": [{"sobel": {"mode": "prompt"}}]},
    "tunings": {"zero-shot": {}, "decoder": {"mode": "decoder"}},
}


def run_cells(changes, *, until=None):
    """Run the code cells in order in one namespace, values put over those of tagged cells.

    Args:
        changes: tag → names and values that are set after the cell that bears it.
        until: stop before the first cell whose code holds this.
    """
    space = {"__name__": "__main__"}
    for cell in CODE:
        text = "".join(cell["source"])
        if until is not None and until in text:
            break
        exec(compile(text, f"{NOTEBOOK.name}, {cell['id']}", "exec"), space)
        for tag in cell["metadata"].get("tags", ()):
            space.update(changes.get(tag, {}))
    return space


@pytest.fixture
def quiet_plots(monkeypatch):
    """Draw into memory, and count what would be shown."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf().number))
    yield shown
    plt.close("all")


def test_it_is_committed_without_outputs():
    assert CODE
    assert not any(cell["outputs"] or cell["execution_count"] for cell in CODE)
    assert DOCUMENT["nbformat"] == 4
    names = [cell["id"] for cell in DOCUMENT["cells"]]
    assert len(set(names)) == len(names)


def test_words_come_before_code():
    kinds = [cell["cell_type"] for cell in DOCUMENT["cells"]]
    words = sum(len("".join(c["source"]).split()) for c in DOCUMENT["cells"] if c not in CODE)
    assert kinds[0] == "markdown" == kinds[-1]
    assert words > 800


def test_it_runs_from_dicom_to_tables(tmp_path, quiet_plots, capsys):
    settings = {
        "WORK": tmp_path / "work", "MODEL": str(smoke_model(tmp_path / "model")),
        "COUNT": 14, "SIDE": 48, "EPOCHS": 1, "SEEDS": (0,),
    }  # fmt: skip
    space = run_cells({"parameters": settings, "grid": {"GRID": GRID}})
    assert list((tmp_path / "work" / "rsna" / "stage_2_train_images").glob("*.dcm"))
    assert space["boxed"][0].mask is None
    assert space["doubted"].passes == 16
    assert set(space["history"]) >= {"epoch", "validation_dice"}
    assert space["went"].problems == ()
    assert space["results"]["done"] == space["results"]["cells"] == 7
    assert (tmp_path / "work" / "study" / "report.html").is_file()
    assert len(quiet_plots) >= 7
    said = capsys.readouterr().out
    assert "GrabCut" in said
    assert "report.html" in said


def test_boxes_alone_are_enough_for_its_first_half(tmp_path, quiet_plots):
    make_phantom(tmp_path / "set", count=5, size=48, seed=0, kinds=("xray",))
    export_source(open_source(f"folder:{tmp_path / 'set'}"), tmp_path / "rsna", form="rsna")
    settings = {
        "WORK": tmp_path / "work", "MODEL": str(smoke_model(tmp_path / "model")),
        "RSNA": f"rsna:{tmp_path / 'rsna'}",
    }  # fmt: skip
    space = run_cells({"parameters": settings, "grid": {"GRID": GRID}})
    assert space["MASKED"] is None
    assert "results" not in space
    assert not (tmp_path / "work").exists()
