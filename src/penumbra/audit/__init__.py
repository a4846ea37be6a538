"""What is wrong with a data set: files, duplicates, masks that disagree, leaks, imbalance."""
