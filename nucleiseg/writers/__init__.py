"""Files that other people open: the submission, the counts, the overlays."""
