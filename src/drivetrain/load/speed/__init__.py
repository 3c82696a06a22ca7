"""Where the time of a request goes: the stages of a service's own requests, timed on a server that is there for it."""
