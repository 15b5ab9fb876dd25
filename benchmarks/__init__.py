"""Programs that measure what the documentation states; run one as `python -m benchmarks.NAME`."""
