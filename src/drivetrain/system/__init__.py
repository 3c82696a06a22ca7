"""Named parts, their graph, their settings and the places they run in."""
