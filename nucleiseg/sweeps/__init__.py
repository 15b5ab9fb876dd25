"""Jobs of a sweep: one process group each, and their launchers."""
