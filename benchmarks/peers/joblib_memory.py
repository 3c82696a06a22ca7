"""joblib.Memory: each step cached under its source and arguments, called by hand in the right order."""

import sys

import system

if sys.argv[1] == "fan":
    print(system.joined(*(getattr(system, f"s{i}")() for i in range(200))))
else:
    found = system.a0()
    for i in range(1, 50):
        found = getattr(system, f"a{i}")(found)
    print(found)
