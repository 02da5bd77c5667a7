"""How several processes, columns or threads share things that are counted from 0."""

from __future__ import annotations


def share(count: int, part: int, parts: int) -> slice:
    """The `part`-th (from 0) of `parts` consecutive shares of `count` things. The sizes of shares differ by one at most."""
    return slice(count * part // parts, count * (part + 1) // parts)


def all_shares(count: int, parts: int) -> list[slice]:
    """All `parts` shares of `count` things, in order."""
    return [share(count, part, parts) for part in range(parts)]


def rounds_of(count: int, parts: int) -> int:
    """The number of rounds in which `parts` processes combine `count` images: at most `parts`, with an image of each in every round."""
    return max(1, min(parts, count // parts))


def shares_of_rounds(count: int, part: int, parts: int) -> list[slice]:
    """The `part`-th share of each round: `count` things are shared among `rounds_of` rounds, and each round among `parts` processes."""
    slices, rounds = [], rounds_of(count, parts)
    for number in range(rounds):
        whole = share(count, number, rounds)
        own = share(whole.stop - whole.start, part, parts)
        slices.append(slice(whole.start + own.start, whole.start + own.stop))
    return slices


def chunks(count: int, parts: int) -> list[slice]:
    """`parts` consecutive shares of `count` things, each as large as the first until none are left (`torch.chunk`, FSDP)."""
    size = -(-count // parts)
    return [slice(min(size * part, count), min(size * (part + 1), count)) for part in range(parts)]
