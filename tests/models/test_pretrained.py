"""Weights from elsewhere: names, files, hashes, and what is refused."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file

from penumbra.data.download.fetch import Fetched
from penumbra.errors import DownloadError, ModelError, StorageError
from penumbra.models import pretrained
from penumbra.models.catalogue import build_model
from penumbra.models.pretrained import Origin, load_pretrained, locate, read_tensors
from penumbra.models.vgg.layout import feature_shapes

HASH = "ab" * 32


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(3)
    return {
        f"features.{name}": 0.05 * torch.randn(shape, generator=generator)
        for name, shape in feature_shapes(16).items()
    }


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "penumbra" / "weights"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hub:timm/vgg16.tv_in1k", Origin("hub", "timm/vgg16.tv_in1k")),
        ("hub:timm/vgg16.tv_in1k@v1", Origin("hub", "timm/vgg16.tv_in1k", "v1")),
        (f"https://a.org/w.pth#sha256={HASH}", Origin("url", "https://a.org/w.pth", None, HASH)),
        (f"w.pth#sha256={HASH.upper()}", Origin("path", "w.pth", None, HASH)),
        ("timm/vgg16", Origin("path", "timm/vgg16")),
        ("C:/weights/w.pth", Origin("path", "C:/weights/w.pth")),
    ],
)
def test_names_of_weights(text, wanted):
    assert Origin.parse(text) == wanted


@pytest.mark.parametrize(
    ("text", "say"),
    [
        ("https://a.org/w.pth", "no hash"),
        ("https://a.org/w.pth#sha256=abc", "no hash"),
        (f"http://a.org/w.pth#sha256={HASH}", "to be https, but got http"),
        (f"file:///etc/w.pth#sha256={HASH}", "to be https, but got file"),
        ("hub:", "name of the hub"),
        ("hub:../etc", "name of the hub"),
    ],
)
def test_names_that_are_refused(text, say):
    with pytest.raises(ModelError, match=say):
        Origin.parse(text)


@pytest.mark.parametrize("form", ["safetensors", "pth", "state_dict", "legacy"])
def test_every_form_of_file_gives_the_same(form, tensors, tmp_path):
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file(tensors, path)
    else:
        document = {"state_dict": tensors} if form == "state_dict" else tensors
        torch.save(document, path, _use_new_zipfile_serialization=form != "legacy")
    model = build_model("vgg16-unet", n_channels=1, n_classes=1)
    assert len(load_pretrained(model, str(path))) == 26
    assert torch.equal(model.encoder.features[28].weight, tensors["features.28.weight"])


class Evil:
    """Runs code when a careless reader opens it."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


@pytest.mark.parametrize(
    ("name", "content", "say"),
    [
        ("w.pth", pickle.dumps(Evil(), protocol=2), "tensors and nothing else"),
        ("w.pth", b"", "tensors and nothing else"),
        ("w.pth", b"<html>not found</html>", "tensors and nothing else"),
        ("w.pth", b"\x80", "tensors and nothing else"),
        ("w.pth", b"\x80\x02.", "tensors and nothing else"),
        ("w.pth", b"\x80\x02]q\x01a.", "tensors and nothing else"),
        ("w.safetensors", b"\xff" * 40, "tensors and nothing else"),
        ("w.h5", b"x", "a file .safetensors or"),
        ("w", b"x", "no suffix"),
    ],
)
def test_damaged_and_dangerous_files_are_refused(name, content, say, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=say):
        read_tensors(path)


@pytest.mark.parametrize("document", [[1, 2], {}, {"epoch": 3, "w": torch.zeros(1)}])
def test_files_that_hold_other_things_are_refused(document, tmp_path):
    torch.save(document, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="a table of tensors"):
        read_tensors(tmp_path / "w.pth")


def test_a_file_over_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "_MOST_BYTES", 10)
    (tmp_path / "w.pth").write_bytes(b"x" * 11)
    with pytest.raises(ModelError, match="at most 10 bytes"):
        read_tensors(tmp_path / "w.pth")


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="a file, but got none"):
        locate(str(tmp_path / "w.pth"))
    with pytest.raises(ModelError, match="but got a folder"):
        locate(str(tmp_path))


def test_the_hash_of_a_path_is_checked(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"some")
    right = hashlib.sha256(b"some").hexdigest()
    assert locate(f"{tmp_path}/w.pth#sha256={right}") == tmp_path / "w.pth"
    with pytest.raises(ModelError, match="SHA-256"):
        locate(f"{tmp_path}/w.pth#sha256={HASH}")


@pytest.fixture
def served(monkeypatch):
    """A web of one file; counts how often it is asked for."""
    asked = []

    def fetch(url, target, *, max_bytes):
        asked.append(url)
        target.write_bytes(b"weights")
        digest = hashlib.sha256(b"weights").hexdigest()
        return Fetched(path=target, n_bytes=7, sha256=digest)

    monkeypatch.setattr(pretrained, "fetch", fetch)
    return asked


def test_an_address_is_fetched_once(served, cache):
    digest = hashlib.sha256(b"weights").hexdigest()
    where = f"https://a.org/w.pth#sha256={digest}"
    assert locate(where) == locate(where) == cache / f"{digest}.pth"
    assert served == ["https://a.org/w.pth"]


def test_a_kept_file_that_changed_is_fetched_again(served, cache):
    digest = hashlib.sha256(b"weights").hexdigest()
    cache.mkdir(parents=True)
    (cache / f"{digest}.pth").write_bytes(b"broken")
    assert locate(f"https://a.org/w.pth#sha256={digest}").read_bytes() == b"weights"


def test_a_wrong_file_from_an_address_is_not_kept(served, cache):
    with pytest.raises(ModelError, match="nothing was kept"):
        locate(f"https://a.org/w.pth#sha256={HASH}")
    assert list(cache.iterdir()) == []


def test_a_failed_fetch_leaves_nothing(monkeypatch, cache):
    def fetch(url, target, *, max_bytes):
        raise DownloadError("cut")

    monkeypatch.setattr(pretrained, "fetch", fetch)
    with pytest.raises(DownloadError, match="cut"):
        locate(f"https://a.org/w.pth#sha256={HASH}")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("at", [".", "penumbra", "penumbra/weights"])
def test_a_cache_that_cannot_be_written_is_said(served, cache, at):
    # A file where a folder should be: nobody can write below it, whatever their rights.
    file = cache.parents[1] / at
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("in the way")
    with pytest.raises(StorageError, match=r"^Expected the folder of .* Try XDG_CACHE_HOME=.*\.$"):
        locate(f"https://a.org/w.pth#sha256={HASH}")
    assert served == []
    assert file.read_text() == "in the way"


def test_a_disk_that_is_full_is_said(served, cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained.Path, "replace", full)
    digest = hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(StorageError, match="but got No space left on device"):
        locate(f"https://a.org/w.pth#sha256={digest}")
    assert list(cache.iterdir()) == []


def test_the_hub_is_asked_for_safetensors_alone(monkeypatch, tensors, tmp_path):
    asked = []

    def download(repo, filename, *, revision, local_files_only):
        asked.append((repo, filename, revision, local_files_only))
        if local_files_only:
            raise FileNotFoundError("not here")
        save_file(tensors, tmp_path / "model.safetensors")
        return str(tmp_path / "model.safetensors")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    model = build_model("vgg16-fcn8s", n_channels=3, n_classes=1, hidden=4)
    load_pretrained(model, "hub:timm/vgg16.tv_in1k@v1")
    row = ("timm/vgg16.tv_in1k", "model.safetensors", "v1")
    assert asked == [(*row, True), (*row, False)]


def test_a_hub_that_does_not_answer_says_what_to_do(monkeypatch):
    def download(*args, **kwargs):
        raise OSError("no network.")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ModelError, match=r"no network\. Try weights: PATH, .* weights out\.$"):
        locate("hub:timm/vgg16.tv_in1k")


def test_networks_without_such_weights_say_which_have_them(tmp_path):
    with pytest.raises(ModelError, match=r"vgg16-unet"):
        load_pretrained(build_model("unet", n_channels=1, n_classes=1, width=2), "w.pth")
