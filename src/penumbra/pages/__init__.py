"""What every page that Penumbra writes is made of: one file, two themes, no network."""
