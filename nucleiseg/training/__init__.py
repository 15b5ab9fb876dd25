"""The loop (`module`), its schedule, and everything around it in callbacks; `run.train` puts them together."""
