"""Asynchronous jobs: rows that are taken in at once, answered in the idle room of the workers, and fetched later."""
