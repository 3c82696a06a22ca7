"""Signals, drift, quality and alerts; and the controller that acts on them."""
