"""Other libraries' weights: reading their files without running them, and their names and conventions <-> ours."""
