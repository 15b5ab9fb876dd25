"""What the top-level scripts share: the only room that sees Hydra. Configuration turns into plain Python here."""
