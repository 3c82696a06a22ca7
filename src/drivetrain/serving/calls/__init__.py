"""Services that call other services: in the same worker, or at an address of their own."""
