"""Rows for the ferries."""

import polars as pl


def trips(count: int = 200) -> pl.DataFrame:
    number = pl.int_range(count, eager=True)
    wind = (number * 7 % 50).cast(pl.Float64)
    harbour = (number % 2).replace_strict({0: "A", 1: "B"}, return_dtype=pl.String)
    return pl.DataFrame({"trip": number, "wind": wind, "harbour": harbour, "late": wind > 25})
