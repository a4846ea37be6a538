"""The Streamlit app: `streamlit run` this file, or find it at `/ui` of `penumbra serve`."""

from __future__ import annotations

# The image is the page: no wide margins around it.
_STYLE = """
.stMainBlockContainer { padding: 4.5rem 2rem 2rem; }
.stSidebarHeader { height: 1.5rem; min-height: 0; padding: 0.75rem 1rem 0; margin: 0; }
"""


def main() -> None:
    """Draw the page that was chosen."""
    # Here, so that a worker that imports this file takes no time over it.
    import streamlit as st  # noqa: PLC0415

    from penumbra.serving.ui.controls import keep  # noqa: PLC0415
    from penumbra.serving.ui.session import run_page  # noqa: PLC0415

    st.set_page_config(page_title="Penumbra", layout="wide")
    st.html(f"<style>{_STYLE}</style>")
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
