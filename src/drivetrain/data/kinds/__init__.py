"""Kinds of value beyond a table's: what a request may hold, and what a model may give. A kind is a file."""
