"""The console: everything that happened and happens, in the browser and as JSON."""
