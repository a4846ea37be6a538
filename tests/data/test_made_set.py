"""A made set comes into place whole, and takes nothing away but an earlier one."""

from pathlib import Path

import pytest

from penumbra.data.made_set import MadeSet
from penumbra.errors import StorageError

PAIRS = MadeSet(what="set of pairs", settings="pairs.json", parts=("images", "list.csv"))


def put(out: Path, text: str, *, images: int = 2) -> None:
    with PAIRS.replacing(out) as staged:
        (staged / "images").mkdir()
        for number in range(images):
            (staged / "images" / f"{number}.png").write_text(text)
        (staged / "list.csv").write_text(text)
        (staged / "pairs.json").write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_set_replaces_an_earlier_one_and_leaves_other_files(tmp_path: Path):
    put(tmp_path / "set", "old", images=3)
    (tmp_path / "set" / "notes.txt").write_text("mine")
    put(tmp_path / "set", "new", images=1)
    assert contents(tmp_path) == {
        "set/images/0.png": "new",
        "set/list.csv": "new",
        "set/pairs.json": "new",
        "set/notes.txt": "mine",
    }


def test_a_set_that_fails_while_it_is_made_leaves_the_earlier_one(tmp_path: Path):
    put(tmp_path / "set", "old")
    (tmp_path / "set" / "notes.txt").write_text("mine")
    before = contents(tmp_path)

    def full() -> None:
        with PAIRS.replacing(tmp_path / "set") as staged:
            (staged / "images").mkdir()
            raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="room for the set, but got No space"):
        full()
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("move", range(6))
def test_a_kill_while_it_moves_never_mixes_two_sets(tmp_path: Path, monkeypatch, move: int):
    put(tmp_path / "set", "old")
    moves, original = iter(range(99)), Path.replace

    def killed(self: Path, target: Path) -> Path:
        if next(moves) == move:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "set", "new")
    monkeypatch.undo()
    left = contents(tmp_path / "set")
    assert left.pop(PAIRS.claim) == ""
    if any(name.startswith("images/") for name in left):
        assert len(set(left.values())) == 1
    assert "pairs.json" not in left or len(left) == 4
    put(tmp_path / "set", "new")
    assert set(contents(tmp_path / "set").values()) == {"new"}


def test_other_folders_and_files_are_left_alone(tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years")
    with pytest.raises(StorageError, match="an earlier set of pairs, but got a folder with other"):
        put(tmp_path / "other", "new")
    with pytest.raises(StorageError, match="a folder, or nothing yet"):
        put(tmp_path / "other" / "thesis.txt", "new")
    assert contents(tmp_path) == {"other/thesis.txt": "years"}
    (tmp_path / "empty").mkdir()
    put(tmp_path / "empty", "new")
    assert len(contents(tmp_path / "empty")) == 4
