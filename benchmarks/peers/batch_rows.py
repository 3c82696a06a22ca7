"""Write rows of 20 floats into a Parquet file."""

import sys

import numpy as np
import polars as pl

count, path = int(sys.argv[1]), sys.argv[2]
numbers = np.random.default_rng(1)
columns = {f"x{i}": np.round(numbers.normal(size=count), 3) for i in range(20)}
pl.DataFrame({"id": np.arange(count), **columns}).write_parquet(path, row_group_size=500_000)
