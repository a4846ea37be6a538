"""Penumbra segments images and says where the mask is in doubt."""
