"""Hamilton with its cache: the same functions, wired by the names of their parameters."""

import logging
import sys

from hamilton import driver

import system

logging.disable(logging.WARNING)
last = "joined" if sys.argv[1] == "fan" else "a49"
print(driver.Builder().with_modules(system).with_cache("cache").build().execute([last]))
