"""Jobs of a sweep: process groups, launchers, and what is shown while they run."""
