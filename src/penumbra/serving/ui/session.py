"""What the pages have in common: who computes, what is asked, and how errors are said."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from penumbra.errors import MissingExtraError, PenumbraError
from penumbra.serving.ui.backend import Backend, Outcome, Question, registered
from penumbra.serving.ui.local import LocalBackend
from penumbra.serving.ui.runs import VARIABLE, offered_runs

_KEPT_BYTES = 128 * 2**20
_KEPT = "penumbra_answers"


@dataclass(frozen=True)
class Chosen:
    """An image file and what is asked about it.

    Attributes:
        name: what the reader calls it.
        data: the file.
        question: what is asked.
    """

    name: str
    data: bytes
    question: Question


def backend() -> Backend:
    """Give who computes: the server that this app is part of, or runs loaded here."""
    return registered() or _local(os.environ.get(VARIABLE, ""), str(Path.cwd()))


@st.cache_resource(show_spinner="Loading the model …")
def _local(named: str, folder: str) -> Backend:
    """Load runs once for all pages; the arguments are what it depends on."""
    del named, folder
    return LocalBackend(offered_runs())


def answer(chosen: Chosen, question: Question | None = None) -> Outcome:
    """Ask, or give what the same question gave before.

    Args:
        chosen: the image, and the question.
        question: another question about it.

    Raises:
        PenumbraError: there is no answer.
    """
    asked = question or chosen.question
    kept: dict[tuple[bytes, Question, str], Outcome] = st.session_state.setdefault(_KEPT, {})
    # Known before it is asked: what an older model answers meanwhile is no answer of a newer one.
    revision = backend().revision()
    key = (hashlib.blake2b(chosen.data, digest_size=16).digest(), asked, revision)
    if key in kept:
        kept[key] = kept.pop(key)  # Asked for last, forgotten last.
        return kept[key]
    with st.spinner("Asking the model …"):
        outcome = backend().segment(chosen.data, asked)
    kept[key] = outcome
    while len(kept) > 1 and sum(one.n_bytes for one in kept.values()) > _KEPT_BYTES:
        del kept[next(iter(kept))]
    return outcome


def run_page(draw: Callable[[], None]) -> None:
    """Draw a page; what Penumbra refuses is said as a sentence, where the page would be."""
    try:
        draw()
    except (PenumbraError, MissingExtraError) as error:
        st.error(str(error))
