"""From images to predictions: preprocessing, tiling, back ends, probabilities and doubt."""
