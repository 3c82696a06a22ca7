"""What is remembered: artifacts, which are immutable bytes, and the ledger of everything that happened."""
