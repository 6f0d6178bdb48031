"""Functions for Millstream in Python: this module is all that is needed.

    from millstream import *

    @scalar
    def email_domain(email: str) -> Optional[str]:
        _, at, domain = email.partition("@")
        return domain if at else None

    componentize-py -d udf.wit -w udf componentize -p . -p FOLDER_OF_THIS email \
        -o email.wasm

where udf.wit is Millstream's own. Names and types of a function are those in SQL:

    Python                                            SQL
    bool; int; float                                  boolean; bigint; double
    Int8, Int16, Int32; UInt8 ... UInt64; Float32     tinyint, smallint, int; unsigned; real
    str; Json; bytes                                  varchar; json, as text; bytea
    decimal(p, s)                                     decimal(p, s), as decimal.Decimal
    date; time; datetime; TimestampTz                 date; time; timestamp; timestamptz, in UTC
    list[T]; a class of `dataclass` or `NamedTuple`   array<T>; row<...>
    Optional[T]                                       T, which may be NULL

A function is called for each row; the host calls the module once for a batch of them. It does not
see rows with an argument that is NULL, unless that is Optional. A parameter's default is one in SQL.

What a module prints goes to the pipeline's log. Clocks, random numbers, the environment and files are
those that the pipeline file grants. Without, time.time() stands still, secrets and os.urandom give
zeros, and nothing else is there. `random` has its seed from when the module was built:
`random.SystemRandom()` has not.

An exception fails its row. `@scalar(deterministic=False)`: the same arguments do not always give the
same value. A function of `@table` gives any number of values for a row, by `yield` or as a list:
`def words(text: str) -> Iterable[str]`.

A class of `@aggregate` is a function over groups of rows, of its name in small letters. An object is
the state of a group, which is kept as its attributes, pickled: a later version of a module reads what
an earlier one has kept, and needs another name if it has other attributes.

    @aggregate
    class Mean:
        def __init__(self):
            self.sum, self.count = 0.0, 0

        def update(self, x: float):
            self.sum += x
            self.count += 1

        def merge(self, other):  # the rows of a part of the group, computed elsewhere
            self.sum += other.sum
            self.count += other.count

        def finish(self) -> Optional[float]:
            return self.sum / self.count if self.count else None

With `retract`, of the arguments of `update`, it takes rows back that it was given before.

The module `millstream_http` sends requests to servers.
"""

import inspect
import pickle
import re
import reprlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import accumulate, starmap
from typing import Annotated, Any, NamedTuple, Optional, Union
from typing import get_args, get_origin, get_type_hints

from componentize_py_types import Err
from wit_world.exports import functions as wit
from wit_world.imports.columns import Batch, Node
from wit_world.imports.host import Level, config, log

__all__ = [
    "Functions", "aggregate", "scalar", "table", "Level", "config", "log",
    "Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32", "UInt64", "Float32",
    "Json", "TimestampTz", "decimal", "Decimal", "date", "datetime", "time",
    "Iterable", "NamedTuple", "Optional", "dataclass",
]  # fmt: skip

Int8 = Annotated[int, "tinyint"]
Int16 = Annotated[int, "smallint"]
Int32 = Annotated[int, "int"]
UInt8 = Annotated[int, "tinyint unsigned"]
UInt16 = Annotated[int, "smallint unsigned"]
UInt32 = Annotated[int, "int unsigned"]
UInt64 = Annotated[int, "bigint unsigned"]
Float32 = Annotated[float, "real"]
Json = Annotated[str, "json"]
TimestampTz = Annotated[datetime, "timestamptz"]


def decimal(precision: int, scale: int):
    return Annotated[Decimal, f"decimal({precision}, {scale})"]


# --- columns: lists of values, None for NULL ---


class Column:
    """Values of a type: read from a batch's buffers, and written to them."""

    def __init__(self, name: str):
        self.name = name

    def read(self, nodes, buffers) -> list:
        length, validity = next(nodes).length, next(buffers)
        values = self.read_values(length, nodes, buffers)
        if not validity:
            return values
        return [value if there else None for value, there in zip(values, bits(validity))]

    def write(self, values: list, nodes: list, buffers: list) -> None:
        nulls = values.count(None)
        nodes.append(Node(len(values), nulls))
        buffers.append(of_bits(value is not None for value in values) if nulls else b"")
        self.write_values(values, nodes, buffers)


def bits(buffer: bytes):
    return (byte >> bit & 1 for byte in buffer for bit in range(8))


def of_bits(flags) -> bytes:
    digits = "".join("1" if flag else "0" for flag in flags)
    return int("0" + digits[::-1], 2).to_bytes((len(digits) + 7) // 8, "little")


class Booleans(Column):
    def read_values(self, length, nodes, buffers):
        return [bit == 1 for bit in bits(next(buffers))][:length]

    def write_values(self, values, nodes, buffers):
        buffers.append(of_bits(values))


class Numbers(Column):
    """Values that are a number each: as they are, or made of one."""

    def __init__(self, name, code, value=None, number=None):
        super().__init__(name)
        self.code, self.value, self.number = code, value, number

    def read_values(self, length, nodes, buffers):
        numbers = memoryview(next(buffers)).cast(self.code).tolist()
        return [self.value(number) for number in numbers] if self.value else numbers

    def write_values(self, values, nodes, buffers):
        if self.number:
            values = [None if value is None else self.number(value) for value in values]
        if None in values:
            values = [0 if value is None else value for value in values]
        buffers.append(array(self.code, values).tobytes())


class Decimals(Column):
    # As many digits as any decimal has, and none that is dropped.
    CONTEXT = Context(prec=76, rounding=ROUND_HALF_UP)

    def __init__(self, name):
        super().__init__(name)
        self.precision, self.scale = map(int, re.findall(r"\d+", name))

    def read_values(self, length, nodes, buffers):
        buffer = next(buffers)
        numbers = (
            int.from_bytes(buffer[at : at + 16], "little", signed=True)
            for at in range(0, 16 * length, 16)
        )
        return [Decimal(number).scaleb(-self.scale, self.CONTEXT) for number in numbers]

    def write_values(self, values, nodes, buffers):
        buffers.append(b"".join(map(self.bytes_of, values)))

    def bytes_of(self, value):
        if value is None:
            return bytes(16)
        number = int(value.scaleb(self.scale, self.CONTEXT).to_integral_value(context=self.CONTEXT))
        if abs(number) >= 10**self.precision:
            raise ValueError(f"{value} does not fit {self.name}")
        return number.to_bytes(16, "little", signed=True)


class Texts(Column):
    """Where it is all ASCII, one call does for all items."""

    def read_values(self, length, nodes, buffers):
        ends, data = memoryview(next(buffers)).cast("I").tolist(), next(buffers)
        if data.isascii():
            text = data.decode()
            return [text[begin:end] for begin, end in zip(ends, ends[1:])]
        return [data[begin:end].decode() for begin, end in zip(ends, ends[1:])]

    def write_values(self, values, nodes, buffers):
        if None in values:
            values = [value or "" for value in values]
        text = "".join(values)
        data = text.encode()
        buffers.append(ends_of(values if text.isascii() else map(str.encode, values)))
        buffers.append(data)


class Bytes(Column):
    def read_values(self, length, nodes, buffers):
        ends, data = memoryview(next(buffers)).cast("I").tolist(), next(buffers)
        return [data[begin:end] for begin, end in zip(ends, ends[1:])]

    def write_values(self, values, nodes, buffers):
        items = [value or b"" for value in values]
        buffers.append(ends_of(items))
        buffers.append(b"".join(items))


def ends_of(items) -> bytes:
    """Where each item ends, from 0; the host reads them as signed."""
    return array("i", accumulate(map(len, items), initial=0)).tobytes()


class Arrays(Column):
    def __init__(self, items):
        super().__init__(f"array<{items.name}>")
        self.items = items

    def read_values(self, length, nodes, buffers):
        ends = memoryview(next(buffers)).cast("I").tolist()
        items = self.items.read(nodes, buffers)
        return [items[begin:end] for begin, end in zip(ends, ends[1:])]

    def write_values(self, values, nodes, buffers):
        lists = [value or () for value in values]
        buffers.append(ends_of(lists))
        self.items.write([item for each in lists for item in each], nodes, buffers)


class Rows(Column):
    def __init__(self, make, columns):
        names = (f'"{name}" {column.name}' for name, column in columns.items())
        super().__init__(f"row<{', '.join(names)}>")
        self.make, self.columns = make, columns

    def read_values(self, length, nodes, buffers):
        columns = [column.read(nodes, buffers) for column in self.columns.values()]
        return [self.make(*row) for row in zip(*columns)]

    def write_values(self, values, nodes, buffers):
        for name, column in self.columns.items():
            items = [None if value is None else getattr(value, name) for value in values]
            column.write(items, nodes, buffers)


EPOCH, MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)
UTC_EPOCH = EPOCH.replace(tzinfo=timezone.utc)


def date_of(days):
    return date.fromordinal(EPOCH.toordinal() + days)


def days_of(value):
    return value.toordinal() - EPOCH.toordinal()


def time_of(micros):
    return (EPOCH + micros * MICROSECOND).time()


def micros_of_time(value):
    return (datetime.combine(EPOCH, value.replace(tzinfo=None)) - EPOCH) // MICROSECOND


def column_of_datetimes(name, epoch):
    value = lambda micros: epoch + micros * MICROSECOND
    return Numbers(name, "q", value, lambda value: (value - epoch) // MICROSECOND)


COLUMNS = {
    bool: Booleans("boolean"),
    int: Numbers("bigint", "q"),
    float: Numbers("double", "d"),
    str: Texts("varchar"),
    bytes: Bytes("bytea"),
    date: Numbers("date", "i", date_of, days_of),
    time: Numbers("time", "q", time_of, micros_of_time),
    datetime: column_of_datetimes("timestamp", EPOCH),
    TimestampTz: column_of_datetimes("timestamptz", UTC_EPOCH),
    Json: Texts("json"),
    Float32: Numbers("real", "f"),
    Int8: Numbers("tinyint", "b"),
    Int16: Numbers("smallint", "h"),
    Int32: Numbers("int", "i"),
    UInt8: Numbers("tinyint unsigned", "B"),
    UInt16: Numbers("smallint unsigned", "H"),
    UInt32: Numbers("int unsigned", "I"),
    UInt64: Numbers("bigint unsigned", "Q"),
}


def not_optional(hint) -> tuple[Any, bool]:
    """The type without Optional, and whether it was one."""
    if get_origin(hint) is Union or type(hint).__name__ == "UnionType":
        types = [each for each in get_args(hint) if each is not type(None)]
        if len(types) == 1:
            return types[0], True
    return hint, False


def column_of(hint) -> Column:
    hint, _ = not_optional(hint)
    if hint in COLUMNS:
        return COLUMNS[hint]
    if get_origin(hint) is Annotated and get_args(hint)[0] is Decimal:
        return Decimals(hint.__metadata__[0])
    if get_origin(hint) is list:
        return Arrays(column_of(get_args(hint)[0]))
    if is_dataclass(hint) or hasattr(hint, "_fields"):
        hints = get_type_hints(hint, include_extras=True)
        names = [field.name for field in fields(hint)] if is_dataclass(hint) else hint._fields
        return Rows(hint, {name: column_of(hints[name]) for name in names})
    raise TypeError(f"{hint} is no type of SQL")


# --- functions ---


class Function:
    def __init__(self, name, kind, of, returning, deterministic):
        hints = get_type_hints(of, include_extras=True)
        parameters = list(inspect.signature(of).parameters.values())
        if kind is wit.Kind.AGGREGATE:
            parameters = parameters[1:]
        returns = get_type_hints(returning, include_extras=True)["return"]
        if kind is wit.Kind.TABLE:
            returns = get_args(returns)[0]
        self.columns = [column_of(hints[each.name]) for each in parameters]
        self.optional = [not_optional(hints[each.name])[1] for each in parameters]
        self.returns = column_of(returns)
        self.signature = wit.Signature(
            name=name,
            kind=kind,
            arguments=[
                wit.Argument(each.name, column.name, default_of(each))
                for each, column in zip(parameters, self.columns)
            ],
            returns=self.returns.name,
            nulls=wit.Nulls.PASS if any(self.optional) else wit.Nulls.SKIP,
            deterministic=deterministic,
            retracts=False,
        )

    def rows(self, batch, nodes, buffers):
        """The arguments of each row; none, of one that the function does not see."""
        columns = [column.read(nodes, buffers) for column in self.columns]
        if not any(self.optional):
            return zip(*columns) if columns else iter([()] * batch.rows)
        return (
            row if all(map(lambda value, may: may or value is not None, row, self.optional)) else None
            for row in zip(*columns)
        )


def default_of(parameter) -> Optional[str]:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return None
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if value is None or isinstance(value, bool):
        return {None: "NULL", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, datetime):
        return f"'{value.isoformat(' ')}'"
    if isinstance(value, (date, time)):
        return f"'{value.isoformat()}'"
    raise TypeError(
        f"the default of '{parameter.name}' is {value!r}: SQL has None, bool, int, float, str,"
        " Decimal, date, time and datetime"
    )


class Scalar(Function):
    def __init__(self, of, deterministic):
        super().__init__(of.__name__, wit.Kind.SCALAR, of, of, deterministic)
        self.of = of

    def call(self, operation, batch, nodes, buffers):
        rows = self.rows(batch, nodes, buffers)
        if any(self.optional):
            each = (None if row is None else self.of(*row) for row in rows)
        else:
            each = starmap(self.of, rows)
        return written((self.returns, by_row(each)))


class Table(Function):
    def __init__(self, of, deterministic):
        super().__init__(of.__name__, wit.Kind.TABLE, of, of, deterministic)
        self.of = of

    def call(self, operation, batch, nodes, buffers):
        each = (() if row is None else list(self.of(*row)) for row in self.rows(batch, nodes, buffers))
        values = by_row(each)
        rows = [row for row, of_row in enumerate(values) for _ in of_row]
        values = [value for of_row in values for value in of_row]
        return written((COLUMNS[UInt32], rows), (self.returns, values), rows=rows)


class Aggregate(Function):
    def __init__(self, of, deterministic):
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", of.__name__).lower()
        super().__init__(name, wit.Kind.AGGREGATE, of.update, of.finish, deterministic)
        self.signature.retracts = hasattr(of, "retract")
        self.of = of

    def call(self, operation, batch, nodes, buffers):
        states = [self.load(kept) for kept in COLUMNS[bytes].read(nodes, buffers)]
        if operation is wit.Operation.FINISH:
            return written((self.returns, by_row(state.finish() for state in states)))
        groups = COLUMNS[UInt32].read(nodes, buffers)
        if operation is wit.Operation.MERGE:
            others = (self.load(kept) for kept in COLUMNS[bytes].read(nodes, buffers))
            by_row(states[group].merge(other) for group, other in zip(groups, others))
        else:
            change = self.of.update if operation is wit.Operation.UPDATE else self.of.retract
            rows = zip(groups, self.rows(batch, nodes, buffers))
            by_row(row and change(states[group], *row) for group, row in rows)
        kept = [pickle.dumps(vars(state), protocol=5) for state in states]
        return written((COLUMNS[bytes], kept))

    def load(self, kept):
        if kept is None:
            return self.of()
        state = self.of.__new__(self.of)
        try:
            vars(state).update(pickle.loads(kept))
        except Exception:
            message = "the state that was kept is of another version of this function"
            raise Err(wit.Failure(None, message)) from None
        return state


def failure(error: Exception, row: Optional[int]) -> Err:
    if isinstance(error, Err):
        return error
    name = "" if isinstance(error, ValueError) and str(error) else f"{type(error).__name__}: "
    log(Level.DEBUG, f"{name}{error}{place_of(error)}")
    return Err(wit.Failure(row, f"{name}{error}"))


def place_of(error: Exception) -> str:
    """Where it was raised; the traceback module would look for the source, and there are no files."""
    place, traceback = "", error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        place = f", line {traceback.tb_lineno} of {code.co_filename}, in {code.co_name}"
        traceback = traceback.tb_next
    return place


def by_row(values) -> list:
    """What an iterator gives for each row; an exception of it is that of its row."""
    done = []
    try:
        done.extend(iter(values))
    except Exception as error:
        raise failure(error, len(done)) from None
    return done


def written(*columns, rows=None) -> Batch:
    nodes, buffers = [], []
    for column, values in columns:
        try:
            column.write(values, nodes, buffers)
        except Exception as error:
            at = place_of_failure(column, values)
            if at is not None and not isinstance(error, ValueError):
                error = ValueError(f"{reprlib.repr(values[at])} does not fit {column.name}")
            raise failure(error, rows[at] if rows and at is not None else at) from None
    return Batch(nodes[0].length, nodes, buffers)


def place_of_failure(column, values) -> Optional[int]:
    """Of the value that is none of the type."""
    for at, value in enumerate(values):
        try:
            column.write([value], [], [])
        except Exception:
            return at
    return None


ALL: list[Function] = []


def decorator(kind):
    def decorate(of=None, *, deterministic=True):
        def add(of):
            ALL.append(kind(of, deterministic))
            return of

        return add if of is None else add(of)

    return decorate


scalar, table, aggregate = decorator(Scalar), decorator(Table), decorator(Aggregate)


class Functions:
    """What the module exports: componentize-py finds it by its name."""

    def describe(self) -> list[wit.Signature]:
        return [function.signature for function in ALL]

    def call(self, function: int, operation: wit.Operation, input: Batch) -> Batch:
        try:
            return ALL[function].call(operation, input, iter(input.nodes), iter(input.buffers))
        except Exception as error:
            raise failure(error, None) from None
