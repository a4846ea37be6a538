"""Studies of prompts: filters × kinds of prompts × tunings of a promptable model, by patient."""
