"""What entries say beside each other: statistics, pairs, whole tables, pooled views; no text and no picture."""
