"""Lets `python -m penumbra` do what the `penumbra` command does."""

from __future__ import annotations

from penumbra.cli.main import main

if __name__ == "__main__":
    main()
