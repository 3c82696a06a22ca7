"""Versions answering requests: prediction, routing, and the log of every answer."""
