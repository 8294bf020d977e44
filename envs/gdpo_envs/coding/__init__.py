"""Programs written in Python, run in the sandbox: pass rate, length, freedom from bugs."""
