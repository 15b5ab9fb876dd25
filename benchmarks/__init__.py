"""Programs that measure the speeds and memory in the documentation: `python -m benchmarks.NAME`."""
