"""What every ledger promises."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from math import inf, isnan, nan
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.ledgers import LEDGERS

from drivetrain.errors import Unkeepable
from drivetrain.store.ledger import Ledger
from drivetrain.store.record import Record, utc


class Part(msgspec.Struct, frozen=True):
    name: str
    shares: dict[int, float] = {}


class Trip(Record, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "trip"
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("car",), ("car", "at"))

    id: str
    car: str = ""
    at: datetime | None = None
    length_km: float = 0.0
    stops: int | None = None
    done: bool = False
    state: Literal["planned", "driven"] = "planned"
    parts: tuple[Part, ...] = ()
    notes: dict[str, Any] = {}


class Lap(Record, frozen=True, kw_only=True):
    TABLE: ClassVar[str] = "lap"
    KEY: ClassVar[tuple[str, ...]] = ("car", "number")

    car: str
    number: int
    seconds: float


class LapGrown(Record, frozen=True, kw_only=True):
    """The same table, as a later version declares it."""

    TABLE: ClassVar[str] = "lap"
    KEY: ClassVar[tuple[str, ...]] = ("car", "number")
    INDEXES: ClassVar[tuple[tuple[str, ...], ...]] = (("driver",),)

    car: str
    number: int
    seconds: float
    driver: str = "unknown"
    tyres: list[str] = []


Opener = Callable[[], Ledger]


@pytest.fixture(params=LEDGERS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens the same ledger again, as another process would."""
    opened: list[Ledger] = []

    def open_ledger() -> Ledger:
        opened.append(LEDGERS[request.param](tmp_path))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(opener: Opener) -> Ledger:
    return opener()


@pytest.fixture(scope="module", params=LEDGERS)
def one_ledger(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger for the many examples of one property."""
    ledger = LEDGERS[request.param](tmp_path_factory.mktemp("ledger"))
    yield ledger
    ledger.close()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TRIPS = st.builds(
    Trip,
    id=TEXTS,
    car=TEXTS,
    at=st.none() | st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=st.just(UTC)),  # noqa: DTZ001
    length_km=st.floats(allow_nan=False),
    stops=st.none() | st.integers(-(2**63), 2**63 - 1),
    done=st.booleans(),
    state=st.sampled_from(["planned", "driven"]),
    parts=st.lists(
        st.builds(Part, TEXTS, st.dictionaries(st.integers(-99, 99), st.floats(allow_nan=False))), max_size=2
    ).map(tuple),
    notes=st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS | st.lists(TEXTS), max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(trip=TRIPS)
def test_a_record_comes_back_as_it_was(one_ledger: Ledger, trip: Trip) -> None:
    one_ledger.write(trip)

    assert one_ledger.get(Trip, trip.id) == trip
    assert trip in one_ledger.find(Trip, {"car": trip.car, "at": trip.at, "stops": trip.stops})


@pytest.mark.parametrize("last", [0.5, nan])
def test_what_stands_in_a_dict_keeps_its_order(ledger: Ledger, last: float) -> None:
    ledger.write(Trip(id="a", notes={"b": {"d": 1, "c": 2}, "a": last}))
    trip = ledger.get(Trip, "a")
    assert trip is not None
    assert (list(trip.notes), list(trip.notes["b"])) == (["b", "a"], ["d", "c"])


def test_numbers_that_are_not_finite_come_back(ledger: Ledger) -> None:
    ledger.write(Trip(id="a", length_km=nan, notes={"loss": nan, "bound": -inf}), Lap(car="a", number=1, seconds=inf))

    trip = ledger.get(Trip, "a")

    assert trip is not None
    assert isnan(trip.length_km)
    assert isnan(trip.notes["loss"])
    assert trip.notes["bound"] == -inf
    assert ledger.find(Lap) == [Lap(car="a", number=1, seconds=inf)]


def test_a_ledger_that_knows_nothing_finds_nothing(ledger: Ledger) -> None:
    assert ledger.get(Trip, "a") is None
    assert ledger.find(Trip, {"car": "x"}, order="-at", limit=1) == []


def test_a_record_with_the_same_key_replaces_the_earlier_one(ledger: Ledger) -> None:
    ledger.write(Lap(car="a", number=1, seconds=9.0), Lap(car="a", number=2, seconds=8.0))
    ledger.write(Lap(car="a", number=1, seconds=7.0))

    assert ledger.get(Lap, "a", 1) == Lap(car="a", number=1, seconds=7.0)
    assert len(ledger.find(Lap)) == 2


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, "abcd"),
        ({"car": "x"}, "ab"),
        ({"car": "x", "stops": 2}, "b"),
        ({"car !=": "x"}, "cd"),
        ({"stops": None}, "ad"),
        ({"stops !=": None}, "bc"),
        ({"stops !=": 2}, "acd"),
        ({"stops >": 2}, "c"),
        ({"length_km >=": 2, "length_km <": 4}, "bc"),
        ({"done": True}, "d"),
        ({"state": "driven"}, "c"),
        ({"at <=": datetime(2013, 1, 2, tzinfo=UTC)}, "ab"),
        ({"at >": datetime(2013, 1, 2, tzinfo=UTC)}, "c"),
        ({"at": None}, "d"),
    ],
)
def test_records_are_found_by_all_conditions_together(ledger: Ledger, where: dict[str, Any], found: str) -> None:
    day = datetime(2013, 1, 1, tzinfo=UTC)
    ledger.write(
        Trip(id="a", car="x", at=day, length_km=1),
        Trip(id="b", car="x", at=day + timedelta(days=1), length_km=2, stops=2),
        Trip(id="c", car="y", at=day + timedelta(days=2), length_km=3, stops=3, state="driven"),
        Trip(id="d", car="z", length_km=4, done=True),
    )

    assert "".join(trip.id for trip in ledger.find(Trip, where)) == found


@pytest.mark.parametrize("where", [{"colour": "red"}, {"car LIKE": "x"}, {"car = '' OR 1=1 --": ""}])
def test_a_condition_that_means_nothing_is_refused(ledger: Ledger, where: dict[str, Any]) -> None:
    ledger.write(Trip(id="a"))

    with pytest.raises(ValueError, match="is not a field"):
        ledger.find(Trip, where)
    with pytest.raises(ValueError, match="is not a field"):
        ledger.find(Trip, order="id; DROP TABLE trip")


def test_records_come_in_the_order_of_writing_or_of_a_field(ledger: Ledger) -> None:
    for name, stops in (("b", 2), ("c", 1), ("a", 2)):
        ledger.write(Trip(id=name, stops=stops))

    def ids(**how: Any) -> str:
        return "".join(trip.id for trip in ledger.find(Trip, **how))

    assert ids() == "bca"
    assert ids(order="id") == "abc"
    assert ids(order="-id", limit=2) == "cb"
    assert ids(order="stops") == "cba"
    assert ids(limit=0) == ""


def test_moments_are_in_order_whatever_their_zone_and_come_back_in_utc(ledger: Ledger) -> None:
    east = timezone(timedelta(hours=9))
    moments = [
        datetime(2013, 1, 1, 8, 59, tzinfo=east),
        datetime(2013, 1, 1, 0, 0, tzinfo=UTC),
        datetime(2013, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        datetime(2013, 1, 1, 0, 1),  # noqa: DTZ001  # without a zone, as data often is
        datetime(2013, 1, 1, 9, 2, tzinfo=east),
    ]
    ledger.write(*(Trip(id=str(number), at=moment) for number, moment in enumerate(moments)))

    seen = ledger.find(Trip, {"at >=": moments[0], "at <": moments[4]}, order="-at")

    assert [trip.id for trip in seen] == ["3", "2", "1", "0"]
    assert [trip.at for trip in seen] == [utc(moment) for moment in moments[3::-1]]
    assert all(trip.at is not None and trip.at.tzinfo == UTC for trip in seen)


def write_and_fail(ledger: Ledger, record: Record) -> None:
    """Write in a transaction that does not end well."""
    try:
        with ledger.transaction():
            ledger.write(record)
            raise KeyError
    except KeyError:
        pass


def test_a_transaction_writes_all_or_nothing(ledger: Ledger, opener: Opener) -> None:
    other = opener()
    with ledger.transaction():
        ledger.write(Trip(id="a"))
        ledger.write(Lap(car="a", number=1, seconds=1.0))
        assert ledger.get(Trip, "a") is not None
        assert other.get(Trip, "a") is None
    write_and_fail(ledger, Trip(id="b"))

    assert [trip.id for trip in other.find(Trip)] == ["a"]
    assert len(other.find(Lap)) == 1


def test_tables_that_were_made_in_a_transaction_that_failed_are_made_again(ledger: Ledger) -> None:
    write_and_fail(ledger, Trip(id="a"))

    assert ledger.find(Trip) == []
    ledger.write(Trip(id="b"))
    assert [trip.id for trip in ledger.find(Trip)] == ["b"]


def test_an_inner_transaction_that_failed_takes_only_its_own_writes(ledger: Ledger, opener: Opener) -> None:
    with ledger.transaction():
        ledger.write(Trip(id="a"))
        write_and_fail(ledger, Trip(id="b"))
        ledger.write(Trip(id="c"))

    assert [trip.id for trip in opener().find(Trip)] == ["a", "c"]


def test_a_write_that_fails_half_way_leaves_nothing(ledger: Ledger) -> None:
    good, bad = Lap(car="a", number=1, seconds=1.0), Trip(id="a", notes={"odd": object()})

    with ledger.transaction(), pytest.raises(Unkeepable):
        ledger.write(good, bad)

    assert not ledger.find(Lap)
    assert not ledger.find(Trip)


def test_the_generation_changes_with_each_commit_from_anywhere_and_not_otherwise(
    ledger: Ledger, opener: Opener
) -> None:
    other = opener()
    seen = [ledger.generation()]
    ledger.write(Trip(id="a"))
    seen.append(ledger.generation())
    other.write(Trip(id="b"))
    seen.append(ledger.generation())
    with other.transaction():
        other.write(Trip(id="c"))
        assert ledger.generation() == seen[-1]
    seen.append(ledger.generation())
    ledger.find(Trip)

    assert len(set(seen)) == 4
    assert ledger.generation() == seen[-1]


def test_an_older_table_grows_the_columns_that_it_lacks_whether_read_or_written_first(opener: Opener) -> None:
    opener().write(Lap(car="a", number=1, seconds=1.0))

    reader, writer = opener(), opener()
    grown = reader.find(LapGrown, {"driver !=": "somebody"})
    writer.write(LapGrown(car="a", number=2, seconds=2.0, driver="Ada", tyres=["soft"]))

    assert grown == [LapGrown(car="a", number=1, seconds=1.0)]
    assert [lap.driver for lap in reader.find(LapGrown)] == ["unknown", "Ada"]
    # The older version goes on beside it.
    older = opener()
    older.write(Lap(car="a", number=3, seconds=3.0))
    assert [lap.number for lap in older.find(Lap)] == [1, 2, 3]


def test_a_reader_goes_on_while_another_version_grows_the_table(opener: Opener) -> None:
    reader = opener()
    reader.write(Lap(car="a", number=1, seconds=1.0))
    assert len(reader.find(Lap)) == 1

    opener().write(LapGrown(car="a", number=2, seconds=2.0, driver="Ada"))

    assert [lap.number for lap in reader.find(Lap)] == [1, 2]


def test_a_record_is_deleted_by_its_key(ledger: Ledger, opener: Opener) -> None:
    ledger.delete(Trip, "a")
    ledger.write(Lap(car="a", number=1, seconds=1.0), Lap(car="a", number=2, seconds=2.0))

    ledger.delete(Lap, "a", 1)
    ledger.delete(Lap, "b", 2)

    assert [lap.number for lap in opener().find(Lap)] == [2]


def test_threads_share_a_ledger(ledger: Ledger) -> None:
    def drive(car: str) -> None:
        for number in range(25):
            with ledger.transaction():
                before = len(ledger.find(Lap, {"car": car}))
                ledger.write(Lap(car=car, number=before, seconds=float(number)))

    threads = [threading.Thread(target=drive, args=(car,)) for car in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ledger.find(Lap)) == 100


def test_one_of_several_values_will_do(ledger: Ledger) -> None:
    ledger.write(*[Lap(car=car, number=number, seconds=1.0) for car in "abc" for number in (1, 2)])

    assert [lap.car for lap in ledger.find(Lap, {"car in": ["a", "c"], "number": 2})] == ["a", "c"]
    assert ledger.find(Lap, {"car in": []}) == []


def test_a_question_in_sql_is_answered_from_tables_that_are_made_ready(ledger: Ledger) -> None:
    ledger.prepare(Lap, Trip)
    assert ledger.select("SELECT count(*) FROM lap JOIN trip ON trip.car = lap.car") == [(0,)]
    ledger.write(Lap(car="a'; --", number=1, seconds=2.0))

    assert ledger.select("SELECT number, seconds FROM lap WHERE car = ?", ("a'; --",)) == [(1, 2.0)]


def test_a_statement_is_part_of_the_transaction(ledger: Ledger) -> None:
    ledger.execute("CREATE TABLE IF NOT EXISTS count (number INTEGER)")

    def interrupted() -> None:
        with ledger.transaction():
            ledger.execute("INSERT INTO count VALUES (?)", (1,))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    ledger.execute("INSERT INTO count VALUES (?)", (2,))

    assert ledger.select("SELECT number FROM count") == [(2,)]
