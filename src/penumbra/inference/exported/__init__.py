"""Networks in files that other programs run: written, compared with the network, described."""
