"""The codes of a bank's procedures as the server keeps them: rows of strings of 8192 rows each.

A procedure's slot says which row of which segment is its own; slots of procedures that are gone are
given again, so that segments are as many as the bank's largest size needs. A row whose number is
0 is nobody's, or a tentative procedure's: no look-up may find it.
"""

from __future__ import annotations

import numpy as np

ROWS = 8192


def row_layout(width: int) -> np.dtype[np.void]:
    """A row of a segment; `width` is that of the codes in bytes."""
    return np.dtype([("number", ">u8"), ("version", ">u4"), ("codes", ">u2", (width // 2,))])
