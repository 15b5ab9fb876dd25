"""The commands: one module each, and what reads command lines and composes configurations with Hydra."""
