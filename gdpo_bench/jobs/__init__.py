"""Benchmark jobs: which environments, normalizers and seeds to run, and what becomes of them."""
