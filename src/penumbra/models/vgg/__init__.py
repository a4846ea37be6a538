"""VGG-16 as an encoder: its layout, its decoders, and weights from elsewhere."""
