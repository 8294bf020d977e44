"""What a reader of a training step need not know: several processes, sharded weights, scoring beside training."""
