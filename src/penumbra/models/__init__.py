"""Networks, the one list of them, and how they are stored."""
