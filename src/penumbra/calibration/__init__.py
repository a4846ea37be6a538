"""What is fitted on held-out data after training, with the network left as it is."""
