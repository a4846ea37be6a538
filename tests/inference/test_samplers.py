"""Which passes a sampler is made of, how it is written, and what it costs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.inference.samplers import DISTURBANCES, Cost, Sampler


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("deterministic", "deterministic"),
        ("noise", "noise:8"),
        ("noise*augmentation:16", "noise*augmentation:16"),
        ("augmentation*noise:16", "noise*augmentation:16"),
        ("augmentation", "augmentation"),
        ("dropout:4@0.1", "dropout:4@0.1"),
        ("noise*ensemble:12", "noise*ensemble:12"),
        ("cv-ensemble", "cv-ensemble"),
        ("logit-noise", "logit-noise:64"),
        ("augmentation*logit-noise", "logit-noise*augmentation:64"),
    ],
)
def test_text_is_read_and_written_in_one_form(text, written):
    sampler = Sampler.parse(text)
    assert str(sampler) == written
    assert Sampler.parse(written) == sampler


@pytest.mark.parametrize(
    "text",
    [
        "", "noice:8", "noise:0", "noise:99999", "noise*dropout", "deterministic*augmentation",
        "noise*noise", "ensemble*cv-ensemble", "augmentation@0.2", "dropout:8@0", "noise:8@1.2.3",
        "logit-noise*noise", "noise:8@9", "masksembles:5", "noise:8~perlin", "dropout:8@1~perlin",
        "noise:8@0.3~worley", "noise:8@0.3~perlin0", "noise:8@0.3~",
    ],
)  # fmt: skip
def test_other_texts_are_refused_in_one_sentence(text):
    with pytest.raises(SettingsError, match=r"Expected .* but got .*\. Try "):
        Sampler.parse(text)


def test_products_run_through_networks_then_symmetries_then_noise():
    passes = Sampler.parse("noise*augmentation*ensemble:8").passes_of(symmetries=2, members=2)
    assert [(p.member, p.symmetry) for p in passes[:4]] == [(0, 0), (1, 0), (0, 1), (1, 1)]


@given(
    st.sampled_from(DISTURBANCES), st.integers(1, 40), st.sampled_from([2, 8]), st.integers(2, 5)
)
def test_every_pass_of_a_product_has_its_own_number(kind, passes, symmetries, members):
    passes *= members
    if kind == "masksembles":
        passes = min(passes, members * (4 // members)) or 4
        members = members if passes % members == 0 else 1
    text = f"{kind}*augmentation*ensemble:{passes}" if members > 1 else f"{kind}:{passes}"
    plan = Sampler.parse(text).passes_of(symmetries=symmetries, members=members)
    assert len({p.sample for p in plan}) == len(plan) == passes
    assert {p.symmetry for p in plan} <= set(range(symmetries))
    assert {p.member for p in plan} <= set(range(members))
    where = {p.sample: (p.member, p.symmetry) for p in plan}
    # Opposite noise meets its partner's input, or it could not cancel.
    assert all(where[n] == where[n + 1] for n in where if n % 2 == 0 and n + 1 in where)


def test_without_passes_every_symmetry_and_network_is_heard_once():
    plan = Sampler.parse("augmentation*ensemble").passes_of(symmetries=8, members=3)
    assert len({(p.member, p.symmetry) for p in plan}) == len(plan) == 24


@pytest.mark.parametrize(
    ("text", "symmetries", "members", "wanted"),
    [
        ("augmentation", 1, 1, "symmetries"),
        ("ensemble", 8, 1, "at least 2 runs"),
        ("augmentation:9", 8, 1, "at most 8"),
        ("ensemble:3", 1, 2, "at most 2"),
        ("noise*ensemble:8", 1, 3, "a multiple of the 3 networks"),
        ("logit-noise*augmentation:40", 8, 1, "a multiple of 16"),
    ],
)
def test_passes_that_cannot_differ_are_refused(text, symmetries, members, wanted):
    with pytest.raises(SettingsError, match=wanted):
        Sampler.parse(text).passes_of(symmetries=symmetries, members=members)


@pytest.mark.parametrize(
    ("text", "once", "cost"),
    [
        ("deterministic", True, Cost(1, 1)),
        ("noise:8", True, Cost(1, 9)),
        ("noise:8", False, Cost(9, 9)),
        ("augmentation", True, Cost(8, 8)),
        ("noise*augmentation:8", True, Cost(8, 9)),
        ("noise*ensemble:6", True, Cost(3, 9)),
        ("logit-noise*augmentation:64", True, Cost(8, 8, samples=64)),
        ("logit-noise:64", True, Cost(1, 1, samples=64)),
    ],
)
def test_cost_counts_the_pass_that_makes_the_mask(text, once, cost):
    assert Sampler.parse(text).cost(symmetries=8, members=3, encodes_once=once) == cost


def test_cost_is_said_in_words():
    assert str(Cost(1, 9)) == "1 run of the encoder and 9 of the decoder"
    assert str(Cost(1, 1, samples=64)) == "1 forward pass, 64 samples"
