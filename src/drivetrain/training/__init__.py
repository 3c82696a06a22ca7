"""Fitting and judging: models, what goes in and comes out of them, and the figures that tell how good they are."""
