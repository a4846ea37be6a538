"""Browse what a run has to tell: evaluations with their reports, history, settings."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from penumbra.serving.ui import chart, figures, report_frame
from penumbra.serving.ui.reports import (
    Evaluation,
    evaluations_of,
    history_of,
    info_of,
    settings_of,
)
from penumbra.serving.ui.session import backend, run_page


def page() -> None:
    """Draw the page."""
    folders = backend().folders()
    if not folders:
        st.info("No run is served here, and so there is no report. Train one: `penumbra train`.")
        return
    with st.sidebar:
        st.subheader("Run")
        name = st.selectbox("Run", list(folders), key="report_run", label_visibility="collapsed")
    folder = folders[name]
    reports, training, settings = st.tabs(["Evaluations", "Training", "Settings"])
    with reports:
        _evaluations(folder)
    with training:
        _training(folder)
    with settings:
        text = settings_of(folder)
        if text is None:
            st.info("This run says nothing of how it was trained.")
        else:
            st.code(text, language="yaml")


def _evaluations(folder: Path) -> None:
    found = {evaluation.name: evaluation for evaluation in evaluations_of(folder)}
    if not found:
        st.info(
            f"No evaluation was found in or beside {folder.name}. Make one: "
            f"`penumbra evaluate RUN SOURCE --out RUN/evaluation`."
        )
        return
    chosen = found[st.selectbox("Evaluation", list(found), key="report_evaluation")]
    rows = chosen.overall()
    if rows:
        st.dataframe(rows, hide_index=True, height="content", width="stretch")
    html = chosen.report()
    st.download_button("Download the report", html, file_name=f"{folder.name}_report.html",
                       mime="text/html", on_click="ignore")  # fmt: skip
    _report(chosen, html)


def _report(evaluation: Evaluation, html: str) -> None:
    st.caption(f"`{evaluation.name}/report.html`")
    report_frame.show(html, key="report")


def _training(folder: Path) -> None:
    rows = history_of(folder)
    drawn = figures.history(rows)
    if drawn is None:
        st.info("No history of its training lies in this run.")
    else:
        chart.show(drawn, key="history")
        st.dataframe(rows, hide_index=True, height=260, width="stretch")
    info = info_of(folder)
    if info:
        st.json(info, expanded=False)


if __name__ == "__main__":
    run_page(page)
