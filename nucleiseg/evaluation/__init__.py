"""Metrics, each with its definition: average precision and the choice of a score threshold."""
