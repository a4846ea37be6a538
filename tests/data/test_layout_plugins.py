"""Layouts of other packages: found by entry point, imported late, broken ones passed over."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import layout_named, open_source, recognise
from penumbra.data.split import default_strategy, split_source
from penumbra.errors import SourceError

GOOD = """
from penumbra.data.layouts import Layout
from penumbra.data.layouts.base import Request
from penumbra.data.layouts.folder import FolderMasks
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.imaging.files import read_image

def build(request: Request) -> Source:
    files = sorted((request.root / "images").glob("*.png"))
    records = tuple(Record(id=f.stem, group=f.stem, image=f) for f in files)
    return Source("{name}", request.root, records, ("a", "b"), read_image, FolderMasks(True))

LAYOUT = Layout(
    name="{name}", describe="a test", recognises=lambda root: (root / "mark.txt").exists(),
    build=build, strategy="contiguous",
)
"""


def install(site: Path, monkeypatch, **layouts: str) -> None:
    """Put a distribution on the path that offers layouts, one module of source text for each."""
    info = site / "elsewhere-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    lines = ["[penumbra.layouts]"]
    for name, text in layouts.items():
        module = f"elsewhere_{site.parent.name}_{name}".replace("-", "_")
        (site / f"{module}.py").write_text(text)
        lines.append(f"{name} = {module}:LAYOUT")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(site)


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for name in "abcdef":
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(path)
    (root / "mark.txt").touch()
    return root


def test_a_registered_layout_opens_by_name_and_by_look(tmp_path, monkeypatch, marked) -> None:
    assert recognise(marked).name == "folder"
    install(tmp_path / "site", monkeypatch, theirs=GOOD.format(name="theirs"))
    assert layout_named("Theirs").describe == "a test"
    assert recognise(marked).name == "theirs"
    source = open_source(marked)
    assert source.name == f"theirs:{marked}"
    assert len(open_source(source.name)) == 6
    assert source.findings == ()
    assert default_strategy(source) == "contiguous"
    assert len(split_source(source, seed=0).splits) == 6
    (marked / "mark.txt").unlink()
    assert recognise(marked).name == "folder"
    with pytest.raises(SourceError, match=r"one of dsb2018, .*folder, theirs, but got 'their'"):
        open_source(f"their:{marked}")


def test_the_example_in_the_documentation_is_a_layout(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "add_a_layout.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(compile(code, str(page), "exec"), names)
    layout = names["LAYOUT"]
    for place in ("skin", "lesions"):
        path = tmp_path / place / "p1-2.png"
        path.parent.mkdir()
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(path)
    assert layout.recognises(tmp_path)
    sample = layout.open(tmp_path)[0]
    assert sample.group == "p1"
    assert sample.mask.sum() == 4
    with pytest.raises(SourceError, match="images in skin/"):
        layout.open(tmp_path / "lesions")


BROKEN = {
    "raises": "raise RuntimeError('no luck')",
    "syntax": "def",
    "absent": "import a_module_that_is_nowhere",
    "empty": "",
    "number": "LAYOUT = 3",
    "misnamed": GOOD.format(name="other"),
    "fails": GOOD.format(name="fails").replace('(root / "mark.txt").exists()', "1 / 0"),
    "folder": GOOD.format(name="folder"),
}


def test_broken_layouts_are_findings_and_cost_themselves_alone(
    tmp_path, monkeypatch, marked
) -> None:
    install(tmp_path / "site", monkeypatch, **BROKEN, zz_good=GOOD.format(name="zz_good"))
    source = open_source(marked)
    assert source.layout == "zz_good"
    told = {finding.samples[0]: finding for finding in source.findings}
    assert set(told) == set(BROKEN)
    assert {finding.kind for finding in source.findings} == {"broken-layout"}
    assert {finding.severity for finding in source.findings} == {"warning"}
    assert "package elsewhere" in told["raises"].message
    assert "RuntimeError: no luck" in told["raises"].message
    assert "belongs to a layout of Penumbra's own" in told["folder"].message
    assert layout_named("folder").describe != "a test"


def test_a_broken_layout_that_is_asked_for_says_why(tmp_path, monkeypatch, marked) -> None:
    install(tmp_path / "site", monkeypatch, **BROKEN)
    with pytest.raises(SourceError, match=r"^Expected the layout raises .*no luck\. Try updating"):
        open_source(f"raises:{marked}")
    with pytest.raises(SourceError, match="one named 'other'"):
        layout_named("misnamed")
    kinds = {finding.kind for finding in open_source(f"folder:{marked}").findings}
    assert "broken-layout" not in kinds


def test_nothing_of_another_package_is_imported_before_it_may_be_needed(
    tmp_path, monkeypatch, marked
) -> None:
    install(tmp_path / "site", monkeypatch, noisy="raise SystemExit('imported')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from penumbra.data.layouts import *;"
        "print(len(open_source('folder:' + sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "site"), str(marked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "6\n"
