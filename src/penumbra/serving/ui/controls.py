"""The column on the left: which image, which model, which noise."""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import get_args

import streamlit as st

from penumbra.noise.patterns import Pattern, PatternName
from penumbra.serving.ui.backend import MODES, ModelFacts, Question, mode_named
from penumbra.serving.ui.samples import sample_image, sample_names
from penumbra.serving.ui.session import Chosen, backend

TYPES = ("png", "jpg", "jpeg", "tif", "tiff", "dcm", "dicom")
OWN = "the model's own"
_UPLOAD = "penumbra_upload"
_SAFE_SEED = 2**53 - 1
"""The largest whole number that a browser holds exactly."""

_SAYS = {
    OWN: "The passes that calibration chose for this run; one plain pass without calibration.",
    "disabled": "One plain pass, without noise.",
    "single": "One noisy pass, and the mask that it draws.",
    "ensemble": "The mean of several noisy passes, and the mask of that mean.",
    "monte_carlo": "Several noisy passes for the doubt; the mask is that of the plain pass.",
}
_KEYS = ("source", "sample", "model", "mode", "own_noise", "strength", "pattern", "length",
         "samples", "seed", "threshold", "layer")  # fmt: skip


def keep() -> None:
    """Hold what was chosen while a page without these controls is looked at."""
    for name in _KEYS:
        if name in st.session_state:
            st.session_state[name] = st.session_state[name]


def start(key: str, value: object, possible: Container[object] | None = None) -> None:
    """Give a control its first value, or another one where its own is no longer possible."""
    if key not in st.session_state or (
        possible is not None and st.session_state[key] not in possible
    ):
        st.session_state[key] = value


def start_linked(key: str, first: str, possible: Collection[str]) -> None:
    """Give a control the value that the page's address names, or else its first one."""
    named = st.query_params.get(key)
    start(key, named if named in possible else first, possible)


def link(key: str, value: str, first: str) -> None:
    """Keep the value of a control in the page's address, unless it is the one it starts with."""
    if value == first:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != value:
        st.query_params[key] = value


def sidebar(*, modes: bool = True) -> Chosen | None:
    """Draw the controls.

    Args:
        modes: whether the mode of the noise is chosen here; a page that shows all has no use
            for it.

    Returns:
        What was chosen; ``None`` while there is no image.

    Raises:
        PenumbraError: there is no model, or a value is not possible.
    """
    with st.sidebar:
        image = _image()
        question = _question(modes=modes)
    return None if image is None else Chosen(*image, question)


def _image() -> tuple[str, bytes] | None:
    st.subheader("Image")
    start("source", "Sample")
    source = st.segmented_control(
        "Where the image comes from", ["Sample", "Upload"], key="source",
        label_visibility="collapsed",
    )  # fmt: skip
    if source != "Upload":
        name = st.selectbox("Sample image", sample_names(), key="sample",
                            help="Generated; nobody's image.")  # fmt: skip
        return name, sample_image(name).png
    given = st.file_uploader(
        "PNG, JPEG, TIFF or DICOM file", type=list(TYPES), key="file", on_change=_forget
    )
    if given is not None:
        st.session_state[_UPLOAD] = (given.name, given.getvalue())
    kept: tuple[str, bytes] | None = st.session_state.get(_UPLOAD)
    if kept is not None and given is None:
        # The control lost it when another page was looked at.
        st.caption(f"The image is the file given before: {kept[0]}")
        st.button("Remove it", key="forget", on_click=_forget)
    return kept


def _forget() -> None:
    """Take the file away that a person took out of the control, or put another one for."""
    st.session_state.pop(_UPLOAD, None)


def _question(*, modes: bool) -> Question:
    st.subheader("Model")
    facts = _model()
    mode = OWN
    if modes:
        offered = [OWN, *MODES] if facts.noisy else [OWN, "disabled"]
        start_linked("mode", OWN, offered)
        mode = st.radio("Passes", offered, key="mode", format_func=_words) or OWN
        link("mode", mode, OWN)
        st.caption(_SAYS[mode])
    noisy = facts.noisy and (not modes or mode in ("single", "ensemble", "monte_carlo"))
    strength, pattern = _noise(facts) if noisy else (None, None)
    several = noisy and mode != "single"
    most = backend().most_samples()
    samples = min(8, most)
    if several and most > 2:
        start("samples", samples, range(2, most + 1))
        samples = st.slider("Passes with noise", 2, most, key="samples")
    st.subheader("Answer")
    start("threshold", 0.5)
    threshold = st.slider(
        "Threshold", 0.05, 0.95, step=0.05, key="threshold",
        help="Least foreground probability of the mask, where there are two classes. "
        "Where one map gives the mask, the slider under the image tries others at once, without "
        "asking again.",
    )  # fmt: skip
    seed = st.number_input(
        "Seed", 0, _SAFE_SEED, key="seed", help="The same seed gives the same answer again."
    )
    return Question(
        model=facts.name, mode=mode_named(mode), strength=strength, pattern=pattern,
        samples=samples, seed=int(seed), threshold=float(threshold),
    )  # fmt: skip


def _model() -> ModelFacts:
    known = {facts.name: facts for facts in backend().models()}
    first = next(iter(known))
    start_linked("model", first, known)
    facts = known[st.selectbox("Model", list(known), key="model")]
    link("model", facts.name, first)
    said = [f"{len(facts.classes)} classes: {', '.join(facts.classes)}"]
    said += [f"sees {facts.size} pixels a side"] if facts.size else []
    said += ["calibrated" if facts.calibrated else "not calibrated"]
    said += [f"its own passes: {facts.sampler}"]
    st.caption(" · ".join(said))
    return facts


def _noise(facts: ModelFacts) -> tuple[float | None, Pattern | None]:
    st.subheader("Noise")
    start("own_noise", value=True)
    if facts.has_noise and st.toggle("The noise of the run", key="own_noise"):
        return None, None
    start("strength", 0.3)
    strength = st.slider(
        "Strength", 0.0, 2.0, step=0.05, key="strength",
        help="Standard deviation of the noise, in those of each feature channel.",
    )  # fmt: skip
    return float(strength), _pattern()


def _pattern() -> Pattern:
    names: tuple[PatternName, ...] = get_args(PatternName)
    start("pattern", "lattice")
    name = st.selectbox("Pattern", names, key="pattern")
    if name == "gaussian":
        return Pattern(name=name)
    start("length", 32)
    length = st.slider("Length of a cell, pixels", 4, 128, step=4, key="length")
    return Pattern(name=name, length=float(length))


def _words(mode: str) -> str:
    return {OWN: "Own", "monte_carlo": "Monte Carlo"}.get(mode, mode.capitalize())
