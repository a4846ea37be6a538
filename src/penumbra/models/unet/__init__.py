"""The U-Net and its pieces."""
