"""Typed functions in Python, by typed.wit, with nothing but the functions."""

from typing import Optional

import wit_world


class WitWorld(wit_world.WitWorld):
    def score(self, n: int) -> int:
        # Python's numbers have no end: bigint's wrap around.
        return (n * 3 + 1 + 2**63) % 2**64 - 2**63

    def email_domain(self, email: str) -> Optional[str]:
        _, at, domain = email.partition("@")
        return domain if at else None
