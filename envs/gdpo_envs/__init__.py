"""The benchmark's environments, one folder per family. The registry reaches them by id."""
