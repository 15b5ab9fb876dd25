"""Checkpoints ranked honestly: by images that are the same for all of them, with what chance alone could do shown."""
