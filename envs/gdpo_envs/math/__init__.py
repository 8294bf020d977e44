"""Math word problems and sums: correctness, length, format, integer."""
