"""The pairwise solution of a linear recurrence, forwards or backwards in time.

States are numbered in the order in which they are solved; `links[k]` joins state k to state k + 1,
so the same links serve both directions. A single link stands for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Below this many numbers a call costs more than its arithmetic, so fewer calls win over less work.
DIRECT_NUMBERS = 4096


@dataclass(frozen=True)
class Order:
    """Which end of the time axis, the first one of a tensor, is solved first. Gives views."""

    reverse: bool

    def alternate(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The even and the odd rows, numbered from the end that is first."""
        even = (len(rows) - 1) % 2 if self.reverse else 0
        odd = len(rows) % 2 if self.reverse else 1
        return rows[even::2], rows[odd::2]

    def head(self, rows: Tensor, count: int) -> Tensor:
        """The first `count` rows."""
        return rows[len(rows) - count :] if self.reverse else rows[:count]

    def tail(self, rows: Tensor, count: int) -> Tensor:
        """The last `count` rows."""
        return rows[:count] if self.reverse else rows[len(rows) - count :]


FORWARD, BACKWARD = Order(reverse=False), Order(reverse=True)


def solve(drive: Tensor, links: Tensor, states: Tensor, order: Order) -> None:
    """Write state_{k+1} = links_k · state_k + drive_{k+1} into `states`, with state_0 = drive_0.

    Args:
        drive: (tokens, *rest).
        links: (tokens − 1, *rest) or (1, *rest), where every size of rest may be 1.
        states: where to write, shaped like `drive`; may be `drive` itself.
        order: the direction of time.
    """
    length = len(drive)
    if length == 1 or drive.numel() <= DIRECT_NUMBERS:
        _solve_by_doubling(drive, links, states, order)
        return
    pairs, between = length // 2, (length - 1) // 2
    even_drive, odd_drive = order.alternate(drive)
    even_states, odd_states = order.alternate(states)
    # States not yet written are room for the halved recurrence. Further down the halves are
    # compact, because ever wider strides would miss the cache.
    untouched = states is not drive
    inner, outer, pair_links = _join_links(links, even_states if untouched else None, pairs, order)
    half = torch.addcmul(
        odd_drive,
        inner,
        order.head(even_drive, pairs),
        out=odd_states if untouched else None,
    )
    solve(half, pair_links, half, order)
    if untouched:
        order.head(even_states, 1).copy_(order.head(even_drive, 1))
    torch.addcmul(
        order.tail(even_drive, between),
        outer,
        order.head(half, between),
        out=order.tail(even_states, between),
    )
    if not untouched:
        odd_states.copy_(half)


def _join_links(
    links: Tensor, room: Tensor | None, pairs: int, order: Order
) -> tuple[Tensor, Tensor, Tensor]:
    """The links inside pairs, those between pairs, and those of the recurrence of the pairs.

    The last are written into `room` if it is given and fits.
    """
    if len(links) == 1:
        return links, links, links * links
    inner, outer = order.alternate(links)
    fits = room is not None and room.shape[1:] == links.shape[1:]
    joined = torch.mul(
        order.head(outer, pairs - 1),
        order.tail(inner, pairs - 1),
        out=order.head(room, pairs - 1) if room is not None and fits else None,
    )
    return inner, outer, joined


def _solve_by_doubling(drive: Tensor, links: Tensor, states: Tensor, order: Order) -> None:
    """Reach back 1, 2, 4, … steps: fewer calls, O(T·log T) work (Hillis and Steele 1986)."""
    if states is not drive:
        states.copy_(drive)
    length = len(states)
    reach = 1
    while reach < length:
        later, earlier = (end(states, length - reach) for end in (order.tail, order.head))
        later.copy_(torch.addcmul(later, links, earlier))
        if len(links) == 1:
            links = links * links
        elif 2 * reach < length:
            joined = length - 2 * reach
            links = order.head(links, joined) * order.tail(links, joined)
        reach *= 2
