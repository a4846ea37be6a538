from types import SimpleNamespace

import pytest
import torch
from torch import nn

from penumbra.errors import ModelError
from penumbra.models.wrap import Wrapped, import_module_class


class QuarterSize(nn.Module):
    """Gives logits at a quarter of the size inside an object, as SegFormer does."""

    def __init__(self, as_what: str = "object") -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 4, stride=4)
        self.as_what = as_what

    def forward(self, x):
        logits = self.conv(x)
        return {
            "object": SimpleNamespace(logits=logits),
            "dict": {"out": logits},
            "tuple": (logits, "aux"),
            "text": "nothing",
        }[self.as_what]


@pytest.fixture
def target(monkeypatch):
    monkeypatch.setattr(torch.nn, "QuarterSize", QuarterSize, raising=False)
    return "torch.nn.QuarterSize"


@pytest.mark.parametrize("as_what", ["object", "dict", "tuple"])
def test_outputs_of_every_shape_come_back_at_the_images_size(target, as_what):
    model = Wrapped(1, 2, target=target, keywords={"as_what": as_what})
    assert model(torch.rand(1, 1, 50, 61)).shape == (1, 2, 50, 61)


def test_a_module_without_logits_is_refused(target):
    model = Wrapped(1, 2, target=target, keywords={"as_what": "text"})
    with pytest.raises(ModelError, match="logits"):
        model(torch.rand(1, 1, 32, 32))


def test_the_wrong_number_of_classes_is_refused(target):
    with pytest.raises(ModelError, match=r"\(N, 3, H, W\)"):
        Wrapped(1, 3, target=target)(torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "no.such.module", "torch", ""])
def test_only_module_classes_are_imported(path):
    with pytest.raises(ModelError, match="Expected"):
        import_module_class(path)


def test_wrong_keywords_are_refused():
    with pytest.raises(ModelError, match="keywords"):
        Wrapped(1, 1, target="torch.nn.Conv2d", keywords={"no": 1})


def test_a_run_cannot_bring_code_along(tmp_path, monkeypatch):
    import sys

    from penumbra.models.storage import load_model, save_model

    (tmp_path / "stowaway.py").write_text(
        "from torch import nn\nclass Net(nn.Conv2d):\n    pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    keywords = {"in_channels": 1, "out_channels": 1, "kernel_size": 1}
    save_model(tmp_path, Wrapped(1, 1, target="stowaway.Net", keywords=keywords))
    monkeypatch.delitem(sys.modules, "stowaway")
    with pytest.raises(ModelError, match="inside the run folder"):
        load_model(tmp_path)
    assert "stowaway" not in sys.modules
