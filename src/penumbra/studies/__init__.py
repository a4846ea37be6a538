"""Studies: grids of networks, samplers and shifts on several sets, with paired intervals."""
