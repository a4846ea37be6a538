"""How a chain is written, told apart and refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.imaging.filters import Canny, Clahe, FilterChain, Sobel

ISSUE = ["clahe", {"sobel": {"mode": "blend", "weight": 0.3}}]
edge = st.sampled_from(("sobel", "canny", "log"))
contrast = st.sampled_from(("clahe", "window", "unsharp"))
step = st.one_of(
    edge,
    contrast,
    st.builds(
        lambda name, weight: {name: {"mode": "blend", "weight": weight}},
        st.one_of(edge, contrast),
        st.floats(0, 1),
    ),
    st.builds(lambda sigma: {"log": {"sigma": sigma}}, st.floats(0.5, 32)),
)
last = st.one_of(
    st.just([]),
    st.builds(lambda name: [{name: {"mode": "channels"}}], st.one_of(edge, contrast)),
    st.builds(
        lambda name, form: [{name: {"mode": "prompt", "form": form}}],
        edge,
        st.sampled_from(("mask", "points")),
    ),
)
chains = st.builds(lambda first, end: first + end, st.lists(step, max_size=4), last)


@given(chains)
def test_a_chain_survives_its_text_its_plain_values_and_its_copy(plain):
    chain = FilterChain.parse(plain)
    for again in (
        FilterChain.parse(chain.text),
        FilterChain.parse(chain.model_dump(mode="json")),
        FilterChain.parse(chain),
        FilterChain.model_validate(plain),
    ):
        assert again == chain
        assert hash(again) == hash(chain)
        assert (again.text, again.digest, str(again)) == (chain.text, chain.digest, str(chain))
    assert len(chain.steps) == len(plain)


@given(chains, chains)
def test_different_chains_have_different_digests(one, other):
    first, second = FilterChain.parse(one), FilterChain.parse(other)
    assert (first == second) == (first.digest == second.digest) == (str(first) == str(second))


def test_the_text_is_what_it_was():
    """Embeddings and runs are kept under it: a change here needs a new version of the filters."""
    chain = FilterChain.parse(ISSUE)
    assert chain.text == (
        '[{"clahe":{"clip":2.0,"mode":"replace","tiles":8}},'
        '{"sobel":{"mode":"blend","sigma":0.0,"weight":0.3}}]'
    )
    assert chain.digest == "3c78e69911498c6945bc0bdb0d46c375a8f9b8927dc377c22db2aba3d73385e7"
    assert FilterChain().text == "[]"


def test_defaults_that_are_written_out_change_nothing():
    assert FilterChain.parse("canny") == FilterChain.parse(
        [{"canny": {"mode": "replace", "sigma": 1.5, "low": 0.2, "high": 0.5}}]
    )
    half = FilterChain.parse({"sobel": {"mode": "blend"}})
    assert half.digest == FilterChain.parse({"sobel": {"mode": "blend", "weight": 0.5}}).digest


def test_the_ways_to_write_one_chain():
    chain = FilterChain.parse(ISSUE)
    assert FilterChain.parse("[clahe, {sobel: {mode: blend, weight: 0.3}}]") == chain
    assert FilterChain.parse((Clahe(), Sobel(mode="blend", weight=0.3))) == chain
    assert FilterChain.parse("canny") == FilterChain.parse(Canny())
    assert not FilterChain.parse(None)
    assert chain.label == "clahe, sobel (blend 0.3)"
    assert chain.names == ("clahe", "sobel")
    assert FilterChain().label == "none"


def test_what_a_chain_says_of_itself():
    prompting = FilterChain.parse(["clahe", {"canny": {"mode": "prompt"}}])
    assert isinstance(prompting.prompt, Canny)
    assert prompting.pixels == FilterChain.parse("clahe")
    assert not prompting.stacks
    assert FilterChain.parse(["clahe", {"sobel": {"mode": "channels"}}]).stacks
    assert FilterChain.parse(ISSUE).prompt is None
    with pytest.raises(SettingsError, match="mode: prompt"):
        FilterChain.parse(ISSUE).edge_map(np.zeros((4, 4, 1), np.uint8))


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ("sobell", "got 'sobell'. Try 'sobel'"),
        ([{"sobel": {"sgma": 1}}], "got 'sgma'. Try 'sigma'"),
        ([{"sobel": {"sigma": -1}}], "`sigma` of the filter sobel"),
        ([{"sobel": {"sigma": float("nan")}}], "`sigma` of the filter sobel"),
        ([{"log": {"sigma": 0}}], "`sigma` of the filter log"),
        ([{"clahe": {"mode": "mix"}}], "'replace', 'blend', 'channels' or 'prompt'"),
        ([{"clahe": {"mode": "prompt"}}], "sobel, canny or log, which find edges"),
        ([{"sobel": {"weight": 0.2}}], "mode: blend only"),
        ([{"sobel": {"form": "points"}}], "mode: prompt only"),
        ([{"sobel": {"mode": "prompt", "points": 3}}], "form: points only"),
        ([{"sobel": {"mode": "blend", "weight": 1.2}}], "`weight` of the filter sobel"),
        ([{"canny": {"low": 0.6}}], "at most `high`, which is 0.5, but got 0.6"),
        ([{"window": {"low": 5, "high": 2}}], "below `high`, which is 2, but got 5"),
        (3, "a list of filters"),
        ([3], "got 3"),
        ([None], "got None"),
        ([{"sobel": 1}], "key: value (mode"),
        ([{"sobel": {}, "clahe": {}}], "name: {settings}"),
        ("[a", "YAML"),
        ([{"sobel": {"mode": "channels"}}, "clahe"], "clahe after it"),
        ([{"sobel": {"mode": "channels"}}, {"sobel": {"mode": "prompt"}}], "sobel after it"),
        ([{"sobel": {"mode": "prompt"}}, {"log": {"mode": "prompt"}}], "at most one filter"),
        (["sobel"] * 9, "at most 8 filters"),
    ],
)
def test_mistakes_are_named(chain, said):
    with pytest.raises(SettingsError) as caught:
        FilterChain.parse(chain)
    assert said in str(caught.value)
    assert str(caught.value).startswith("Expected ")
    assert "Try " in str(caught.value)
