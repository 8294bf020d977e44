"""Other trainers use our environments and our normalizers; each comes with its own extra."""
