"""Rank every checkpoint of several runs; README.md names the reading order of the files."""
