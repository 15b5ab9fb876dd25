"""The commands, one module each; command lines are read and configurations composed with Hydra."""
