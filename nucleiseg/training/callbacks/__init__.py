"""Everything around the loop, one behaviour a file; `training.run` puts them in order."""
