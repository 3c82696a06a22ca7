"""Answers that are known already: what a service keeps of them, how they are found, and who waits for whose."""
