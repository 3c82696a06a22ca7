"""Plans, keys and runs: what is done, why, and what need not be done again."""
