"""The pages of the Streamlit app, one file each; Streamlit runs them as scripts."""
