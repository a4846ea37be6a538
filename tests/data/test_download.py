"""Whole data sets: licence, hashes, several archives, the verb."""

import io
import json
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.download import COLLECTIONS, Collection, RemoteFile, catalogue, download
from penumbra.data.download.fetch import Patience
from penumbra.data.layouts import LAYOUTS, open_source
from penumbra.errors import DownloadError, SettingsError, StorageError

AT_ONCE = Patience(tries=3, pause=0.0, timeout=5.0)
MOST = 2**24


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def picture(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 5), value, dtype=np.uint8)).save(out, format="PNG")
    return out.getvalue()


def folder_set(stem: str = "a") -> bytes:
    return zipped({f"set/images/{stem}.png": picture(9), f"set/masks/{stem}.png": picture(255)})


def made(*files: RemoteFile) -> Collection:
    return Collection(
        name="tiny",
        title="A set of one",
        homepage="https://example.org",
        licence="CC0",
        licence_url="https://example.org/licence",
        cite="nobody",
        layout="folder",
        files=files,
    )


def remote(url: str, **options: object) -> RemoteFile:
    return RemoteFile(url=url, max_bytes=MOST, within="set", **options)  # type: ignore[arg-type]


def brought(collection: Collection, out: Path, **options: object):
    return download(collection, out, accept_licence=True, patience=AT_ONCE, **options)


def test_a_set_is_fetched_checked_unpacked_and_opened(site, tmp_path: Path) -> None:
    body = folder_set()
    collection = made(remote(site.put("a.zip", body=body, cuts=[100])))
    out = tmp_path / "set"
    first = brought(collection, out)
    assert first.new == ("a.zip",)
    assert first.files["a.zip"].sha256 == sha256(body).hexdigest()
    assert not first.files["a.zip"].official
    assert open_source(f"{first.layout}:{out}")[0].mask.tolist() == [[1] * 5] * 4
    assert sorted(path.name for path in out.iterdir()) == [".download.json", "images", "masks"]
    site.asked.clear()
    assert brought(collection, out).new == ()
    assert site.asked == []


def test_nothing_is_fetched_before_the_licence_is_accepted(site, tmp_path: Path) -> None:
    collection = made(remote(site.put("a.zip", body=folder_set())))
    with pytest.raises(SettingsError, match="accept-licence"):
        download(collection, tmp_path / "set")
    assert site.asked == []
    assert not (tmp_path / "set").exists()


def test_a_published_hash_is_checked(site, tmp_path: Path) -> None:
    body = folder_set()
    url = site.put("a.zip", body=body)
    with pytest.raises(DownloadError, match="as its makers publish it"):
        brought(made(remote(url, sha256="0" * 64)), tmp_path / "set")
    assert not (tmp_path / "set" / "images").exists()
    right = made(remote(url, sha256=sha256(body).hexdigest()))
    assert brought(right, tmp_path / "set").files["a.zip"].official


def test_a_file_that_changed_since_the_first_time_is_refused(site, tmp_path: Path) -> None:
    collection, out = made(remote(site.put("a.zip", body=folder_set()))), tmp_path / "set"
    brought(collection, out)
    record = json.loads((out / ".download.json").read_text())
    record["files"]["a.zip"]["unpacked"] = 0  # as if it had been stopped while it unpacked
    (out / ".download.json").write_text(json.dumps(record))
    site.put("a.zip", body=folder_set("b"), tag='"v2"')
    with pytest.raises(DownloadError, match="if its makers say that they changed it"):
        brought(collection, out)
    site.put("a.zip", body=folder_set())
    assert brought(collection, out).new == ("a.zip",)


def test_one_bad_archive_among_several_is_a_finding(site, tmp_path: Path) -> None:
    urls = [
        site.put("a.zip", body=folder_set("a")),
        f"{site.url}/gone.zip",
        site.put("evil.zip", body=zipped({"set/../../up": b"x"})),
        site.put("b.zip", body=folder_set("b")),
    ]
    result = brought(made(*map(remote, urls)), tmp_path / "set")
    assert result.new == ("a.zip", "b.zip")
    assert [finding.samples for finding in result.findings] == [("gone.zip",), ("evil.zip",)]
    assert len(open_source(f"folder:{tmp_path / 'set'}")) == 2
    assert not (tmp_path / "up").exists()


def test_some_of_the_archives_can_be_chosen_and_kept(site, tmp_path: Path) -> None:
    files = [remote(site.put(f"{n}.zip", body=folder_set(n)), into=n) for n in "ab"]
    result = brought(made(*files), tmp_path / "set", only=["b"], keep_archives=True)
    assert result.new == ("b.zip",)
    assert (tmp_path / "set/b/images/b.png").is_file()
    assert (tmp_path / "set/.archives/b.zip").is_file()
    with pytest.raises(SettingsError, match="some of a, b"):
        brought(made(*files), tmp_path / "other", only=["c"])


def test_archives_fetched_by_hand_are_taken_and_left_alone(tmp_path: Path) -> None:
    hand = tmp_path / "hand"
    hand.mkdir()
    (hand / "a.zip").write_bytes(folder_set())
    collection = made(remote("sftp://example.org/a.zip"), remote("sftp://example.org/b.zip"))
    with pytest.raises(DownloadError, match=r"curl -C - -O sftp://example.org/a.zip"):
        brought(collection, tmp_path / "set")
    result = brought(collection, tmp_path / "set", by_hand=hand)
    assert result.new == ("a.zip",)
    assert [finding.samples for finding in result.findings] == [("b.zip",)]
    assert (hand / "a.zip").read_bytes() == folder_set()
    assert len(open_source(f"folder:{tmp_path / 'set'}")) == 1


def test_other_folders_are_left_alone(site, tmp_path: Path) -> None:
    collection = made(remote(site.put("a.zip", body=folder_set())))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="left alone"):
        brought(collection, tmp_path / "mine")
    (tmp_path / "mine" / ".download.json").write_text("{}")
    with pytest.raises(StorageError, match="a record of downloads"):
        brought(collection, tmp_path / "mine")
    (tmp_path / "mine" / ".download.json").write_text('{"name": "other", "files": {}}')
    with pytest.raises(StorageError, match="that of other"):
        brought(collection, tmp_path / "mine")
    assert site.asked == []


def test_the_catalogue_is_whole() -> None:
    names = [collection.name for collection in COLLECTIONS]
    assert {"midv500", "midv2019", "camvid", "dsb2018"} <= set(names)
    assert len(set(names)) == len(names)
    layouts = {layout.name for layout in LAYOUTS}
    for collection in COLLECTIONS:
        assert collection.layout in layouts
        assert collection.licence
        assert collection.licence_url.startswith("https://")
        assert len({file.name for file in collection.files}) == len(collection.files)
        assert all(file.is_fetchable for file in collection.files)
    with pytest.raises(SettingsError, match="Try `midv500`"):
        catalogue.collection_named("midv-500")


def test_the_verb_shows_the_licence_and_asks(
    site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = made(remote(site.put("a.zip", body=folder_set())))
    monkeypatch.setattr(catalogue, "COLLECTIONS", (collection,))
    words = ["dataset", "download", "tiny", "--out", str(tmp_path / "set")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "Licence: CC0. https://example.org/licence" in refused.output
    done = CliRunner().invoke(app, [*words, "--accept-licence", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["new"] == ["a.zip"]
    listed = CliRunner().invoke(app, ["dataset", "download", "--json"])
    assert "camvid" in {each["name"] for each in json.loads(listed.stdout)["collections"]}
