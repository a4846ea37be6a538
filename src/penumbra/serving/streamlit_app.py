"""The Streamlit app: `streamlit run` this file, or find it at `/ui` of `penumbra serve`."""

from __future__ import annotations


def main() -> None:
    """Draw the page that was chosen."""
    # Here, so that a worker that imports this file takes no time over it.
    import streamlit as st  # noqa: PLC0415

    from penumbra.serving.ui.controls import keep  # noqa: PLC0415
    from penumbra.serving.ui.session import run_page  # noqa: PLC0415

    st.set_page_config(page_title="Penumbra", layout="wide")
    keep()
    chosen = st.navigation(
        [
            st.Page("ui/pages/segment.py", title="Segment", default=True),
            st.Page("ui/pages/compare.py", title="Side by side"),
            st.Page("ui/pages/noise.py", title="Noise patterns"),
            st.Page("ui/pages/report.py", title="Report"),
        ],
        position="top",
    )
    run_page(chosen.run)


# Workers that the server spawns meanwhile import this file under another name, and run nothing.
if __name__ == "__main__":
    main()
