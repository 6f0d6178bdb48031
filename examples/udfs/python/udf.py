"""The functions of all the examples, in Python."""

from millstream import *


@scalar
def score(n: int) -> int:
    # Python's numbers have no end: bigint's wrap around.
    return (n * 3 + 1 + 2**63) % 2**64 - 2**63


@scalar
def email_domain(email: str) -> Optional[str]:
    _, at, domain = email.partition("@")
    return domain if at else None


# --- a table: rows for each row ---


class Word(NamedTuple):
    word: str
    position: Int32


@table
def words(text: str) -> Iterable[Word]:
    words = filter(None, text.split(" "))
    return [Word(word, position) for position, word in enumerate(words, 1)]


# --- an aggregate: a value for a group of rows ---


@aggregate
class Mode:
    """The least of the numbers that come most often."""

    def __init__(self):
        self.counts = {}

    def update(self, n: int):
        self.counts[n] = self.counts.get(n, 0) + 1

    def retract(self, n: int):
        if self.counts.get(n, 0) > 1:
            self.counts[n] -= 1
        else:
            self.counts.pop(n, None)

    def merge(self, other):
        for n, count in other.counts.items():
            self.counts[n] = self.counts.get(n, 0) + count

    def finish(self) -> Optional[int]:
        return min(self.counts, key=lambda n: (-self.counts[n], n), default=None)


# --- NULL, a default, what fails, what the pipeline file has ---


@scalar
def first_of(
    first: Optional[str], second: Optional[str], otherwise: Optional[str] = "?"
) -> Optional[str]:
    texts = (first, second, otherwise)
    return next((text for text in texts if text is not None), None)


@scalar
def half(n: int) -> int:
    if n % 2:
        raise ValueError(f"{n} is odd")
    return n // 2


@scalar(deterministic=False)
def greeting() -> Optional[str]:
    log(Level.DEBUG, "greets")
    return config("greeting")


# --- a type after the other ---


@dataclass
class All:
    truth: Optional[bool]
    tiny: Optional[Int8]
    small: Optional[UInt16]
    large: Optional[UInt64]
    real: Optional[Float32]
    double: Optional[float]
    bytes: Optional[bytes]
    json: Optional[Json]
    date: Optional[date]
    time: Optional[time]
    local: Optional[datetime]
    zoned: Optional[TimestampTz]
    price: Optional[decimal(20, 4)]
    tags: Optional[list[Optional[str]]]
    nested: Optional[list[Optional[list[Optional[Int32]]]]]


@scalar
def same(all: Optional[All]) -> Optional[All]:
    """Reads each type, and writes it as it was."""
    return all
