"""Splits that a layout ships, on their way through a corrected manifest."""

import numpy as np
import pytest
from PIL import Image

from penumbra.audit.apply import apply
from penumbra.audit.placement import Duplicate
from penumbra.data.layouts import open_source
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.split import split_source
from penumbra.data.split_findings import split_findings
from penumbra.training.experiment import SplitSettings
from penumbra.training.plan import open_split_source


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


@pytest.mark.parametrize("kind", ["layout", "manifest"])
def test_a_shipped_split_is_pinned_by_a_manifest_alone(kind, tmp_path):
    """What `train` makes of the layout itself it makes of the corrected manifest too."""
    rng = np.random.default_rng(1)
    mask = np.zeros((20, 20))
    mask[2:10, 2:10] = 255
    for part, numbers in (("train", (1, 2)), ("test", (3, 4))):
        for subject in (1, 2, 3, 4):
            for number in numbers:
                stem = tmp_path / "set" / part / f"{subject}_{number}"
                save(stem.with_suffix(".tif"), rng.integers(0, 255, (20, 20)))
                save(stem.with_name(f"{stem.name}_mask.tif"), mask)
    opened = open_source(f"nerve:{tmp_path / 'set'}")
    assert {record.split for record in opened.records} == {"train", "test"}
    if kind == "manifest":
        shipped = split_source(opened, strategy="given")
        write_manifest(tmp_path / "given.csv", opened, shipped)
        opened = open_source(tmp_path / "given.csv")
    apply(opened, tmp_path / "new.csv", policy="union", pairs=[Duplicate("1_1", "1_2")])
    source, assignment = read_manifest(tmp_path / "new.csv")
    kept = {r.id: r.split for r in opened.records if r.id != "1_2"} if kind == "manifest" else {}
    assert assignment.splits == kept
    assert source.pinned == bool(kept)
    _, split = open_split_source(tmp_path / "new.csv", split=SplitSettings())
    crossing = [f.kind for f in split_findings(source, split)]
    expected = ["no-validation", "group-in-several-splits"] if kind == "manifest" else []
    assert crossing == expected
