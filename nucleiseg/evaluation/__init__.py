"""Metrics of instances, each with its definition, and readers of COCO files; README.md lists what to read first."""
