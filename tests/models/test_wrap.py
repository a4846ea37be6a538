"""Modules of other packages: what is declared fits, what does not is said before training."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from penumbra.errors import ModelError
from penumbra.models.storage import load_model, save_model
from penumbra.models.wrap import Wrapped, import_module_class


class Foreign(nn.Module):
    """Gives logits of any size, form and kind of number."""

    def __init__(
        self, as_what="tensor", *, stride=4, side=None, channels=1, bad=False, kernel=None
    ):
        super().__init__()
        self.conv = nn.Conv2d(channels, 2, kernel or stride, stride=stride)
        self.as_what, self.side, self.bad = as_what, side, bad

    def forward(self, x):
        logits = self.conv(x)[..., : self.side, :]
        if self.bad:
            logits = logits / 0
        return {
            "tensor": logits,
            "object": SimpleNamespace(logits=logits, loss=None),
            "dict": {"out": logits, "aux": logits},
            "tuple": (logits, "aux"),
            "flat": logits.flatten(1),
            "text": "nothing",
        }[self.as_what]


@pytest.fixture
def target(monkeypatch):
    monkeypatch.setattr(torch.nn, "Foreign", Foreign, raising=False)
    return "torch.nn.Foreign"


FORMS = [("tensor", "tensor"), ("object", "logits"), ("dict", "out"), ("tuple", "first")]


@pytest.mark.parametrize(("as_what", "output"), FORMS)
def test_declared_outputs_come_back_at_the_images_size(target, as_what, output):
    keywords = {"as_what": as_what}
    model = Wrapped(1, 2, target=target, keywords=keywords, output=output, stride=4)
    assert model(torch.rand(1, 1, 50, 61)).shape == (1, 2, 50, 61)


@pytest.mark.parametrize(
    ("as_what", "output", "remedy"),
    [
        ("object", "tensor", "output: logits"),
        ("object", "out", "output: logits"),
        ("dict", "logits", "output: out, output: aux"),
        ("tuple", "tensor", "output: first"),
        ("tensor", "out", "output: tensor"),
        ("text", "tensor", "nn.Module of your own"),
        ("text", "first", "nn.Module of your own"),
    ],
)
def test_another_form_than_declared_is_refused_with_the_remedy(target, as_what, output, remedy):
    with pytest.raises(ModelError, match=remedy):
        Wrapped(1, 2, target=target, keywords={"as_what": as_what}, output=output, stride=4)


def test_coarser_logits_have_to_be_declared(target):
    with pytest.raises(ModelError, match=r"to be \(N, 2, 64, 64\).*\(1, 2, 16, 16\).*stride: 4"):
        Wrapped(1, 2, target=target)


@pytest.mark.parametrize("stride", [2, 8])
def test_another_stride_than_declared_is_refused(target, stride):
    with pytest.raises(ModelError, match="stride: 4"):
        Wrapped(1, 2, target=target, stride=stride)


def test_a_wrong_size_is_refused(target):
    with pytest.raises(ModelError, match=r"\(1, 2, 15, 16\)\. Try a network that keeps the size"):
        Wrapped(1, 2, target=target, keywords={"side": 15}, stride=4)


def test_a_size_that_goes_wrong_later_is_refused_too(target):
    model = Wrapped(1, 2, target=target, keywords={"side": 16}, stride=4)
    with pytest.raises(ModelError, match="for images of 96×64"):
        model(torch.rand(1, 1, 96, 64))


@pytest.mark.parametrize("keywords", [{}, {"as_what": "flat"}])
def test_the_wrong_number_of_classes_is_refused(target, keywords):
    with pytest.raises(ModelError, match=r"\(N, 3, 16, 16\)"):
        Wrapped(1, 3, target=target, keywords=keywords, stride=4)


def test_the_wrong_number_of_channels_is_refused(target):
    with pytest.raises(ModelError, match=r"Try image\.channels: 1, or keywords for 3 channels\."):
        Wrapped(3, 2, target=target, stride=4)
    with pytest.raises(ModelError, match=r"Try image\.channels: 3, or keywords for 1 channel\."):
        Wrapped(1, 2, target=target, keywords={"channels": 3}, stride=4)


def test_an_image_too_small_is_told_from_the_wrong_channels(target):
    with pytest.raises(ModelError, match=r"Try multiple: 224\.$"):
        Wrapped(1, 2, target=target, keywords={"kernel": 200, "stride": 1}, multiple=1)


def test_any_other_error_gets_no_hint_about_channels(target):
    with pytest.raises(ModelError, match="missing its weather") as refused:
        Wrapped(1, 2, target=target, keywords={"as_what": "missing its weather"}, stride=4)
    assert "channels:" not in str(refused.value)
    assert "its forward" in str(refused.value)


def test_one_class_is_one_class(target):
    with pytest.raises(ModelError, match=r"give 1 class\."):
        Wrapped(1, 1, target=target, stride=4)


def test_what_is_not_finite_is_refused(target):
    with pytest.raises(ModelError, match="NaN"):
        Wrapped(1, 2, target=target, keywords={"bad": True}, stride=4)


def test_the_trial_leaves_no_trace(target):
    torch.manual_seed(0)
    plain = Foreign()
    after = torch.rand(1)
    torch.manual_seed(0)
    model = Wrapped(1, 2, target=target, stride=4)
    assert torch.equal(torch.rand(1), after)
    assert model.training
    assert torch.equal(model.module.conv.weight, plain.conv.weight)


@pytest.mark.parametrize(
    "wrong",
    [
        {"multiple": 0}, {"multiple": 3.5}, {"stride": 0}, {"stride": 5}, {"output": "a b"},
        {"output": 3}, {"build": "guess"}, {"build": "config"},
    ],
)  # fmt: skip
def test_wrong_declarations_are_refused(target, wrong):
    with pytest.raises(ModelError, match=r"Expected .* Try "):
        Wrapped(1, 2, target=target, **{"stride": 4, **wrong})


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "no.such.module", "torch", ""])
def test_only_module_classes_are_imported(path):
    with pytest.raises(ModelError, match="Expected"):
        import_module_class(path)


def test_wrong_keywords_are_refused():
    with pytest.raises(ModelError, match="keywords"):
        Wrapped(1, 1, target="torch.nn.Conv2d", keywords={"no": 1})


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, ZeroDivisionError, ImportError])
def test_whatever_a_constructor_raises_is_one_sentence(monkeypatch, error):
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            raise error("this many\nlines")

    monkeypatch.setattr(torch.nn, "Picky", Picky, raising=False)
    with pytest.raises(ModelError, match=r"keywords.* this many\. Try"):
        Wrapped(1, 1, target="torch.nn.Picky")


def test_torchvisions_functions_fetch_no_backbone_unless_it_is_named(monkeypatch):
    asked = []

    def make(num_classes, weights_backbone="IMAGENET1K_V1"):
        asked.append(weights_backbone)
        return Foreign("dict", channels=3)

    module = ModuleType("torchvision.models.segmentation")
    module.fcn_tiny = make
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for named in ({}, {"weights_backbone": "DEFAULT"}):
        Wrapped(3, 2, target=f"{module.__name__}.fcn_tiny", output="out", stride=4,
                keywords={"num_classes": 2, **named})  # fmt: skip
    assert asked == [None, "DEFAULT"]


def test_functions_are_called_in_torchvision_alone(monkeypatch):
    def make(num_classes):
        return Foreign("dict", channels=3) if num_classes == 2 else "no network"

    there, elsewhere = "torchvision.models.segmentation", "elsewhere"
    for name in (there, elsewhere):
        module = ModuleType(name)
        module.fcn_tiny = make
        monkeypatch.setitem(sys.modules, name, module)
    declared = {"output": "out", "stride": 4}
    model = Wrapped(3, 2, target=f"{there}.fcn_tiny", keywords={"num_classes": 2}, **declared)
    assert model(torch.rand(1, 3, 40, 40)).shape == (1, 2, 40, 40)
    with pytest.raises(ModelError, match="a network"):
        Wrapped(3, 1, target=f"{there}.fcn_tiny", keywords={"num_classes": 1}, **declared)
    with pytest.raises(ModelError, match="subclass"):
        Wrapped(3, 2, target=f"{elsewhere}.fcn_tiny", keywords={"num_classes": 2}, **declared)


def test_a_configuration_takes_no_name_that_it_does_not_know():
    pytest.importorskip("transformers")
    with pytest.raises(ModelError, match="num_lables"):
        Wrapped(
            3, 2, target="transformers.SegformerForSemanticSegmentation",
            keywords={"num_lables": 2}, build="config", output="logits", stride=4,
        )  # fmt: skip


def test_a_run_cannot_bring_code_along(tmp_path, monkeypatch):
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
