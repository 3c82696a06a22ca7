"""Model versions, their signatures and aliases, and the gates they pass."""
