"""Who takes which part of how many."""

from __future__ import annotations


def share(count: int, part: int, parts: int) -> slice:
    """The `part`-th of `parts` consecutive shares of `count` things; shares differ by one at most."""
    return slice(count * part // parts, count * (part + 1) // parts)


def rounds_of(count: int, parts: int) -> int:
    """In how many rounds `parts` processes put `count` images together: as many as processes, where each has one in all."""
    return max(1, min(parts, count // parts))


def shares_of_rounds(count: int, part: int, parts: int) -> list[slice]:
    """The `part`-th share of each of `rounds_of` consecutive shares of `count` things."""
    slices, rounds = [], rounds_of(count, parts)
    for number in range(rounds):
        whole = share(count, number, rounds)
        own = share(whole.stop - whole.start, part, parts)
        slices.append(slice(whole.start + own.start, whole.start + own.stop))
    return slices
