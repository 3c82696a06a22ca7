"""One server for several services: each below its name, and some things answered for all."""
