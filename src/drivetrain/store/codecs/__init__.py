"""One file a family of types, named after its library."""
