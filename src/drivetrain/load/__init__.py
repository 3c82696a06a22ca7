"""Load: what a server answers, how fast, and up to which rate."""
