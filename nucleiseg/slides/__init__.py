"""Whole slides: predicted window by window into a work folder of blocks, merged and written as a stream."""
