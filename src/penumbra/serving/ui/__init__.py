"""The Streamlit app: its pages, its pictures, and what computes for it."""
