"""What runs in the container, as the package `worker`; the standard library only.

PID 1 is the zygote: it forks, and never reads a program. The dispatcher talks with the host, enforces time and output,
and kills whatever a program leaves behind. Programs run in forked children of the zygote, as a user without rights.
Expected outputs never come here: the host compares.

Only `values` and `frames` are used by the host too.
"""
