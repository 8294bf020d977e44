"""Where the work of a job is done: on this machine's cores, on a Ray cluster, by torchrun's processes."""
