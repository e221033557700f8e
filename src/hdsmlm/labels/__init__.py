"""From emitters to count labels and the weights of the loss."""
