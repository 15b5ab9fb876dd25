"""Weights of other libraries: read their files without executing code, and map names and conventions."""
