"""Tool calling: format and correctness, as ToolRL defines them."""
