"""Streams: messages of a broker are answered one by one, and the answers go to another stream."""
