"""What the edges of a DARTS cell offer, in the space of DARTS and in S1 to S4.

A cell has 14 edges: node n of 0..3 reads from the cell's inputs 0 and 1 and from the nodes before it, which are 2, 3
and 4. An offer is bool[2, 14, 9]: of the normal and the reduction cell, by edge, by operation. Source of S1 to S4:
Zela et al., "Understanding and Robustifying Differentiable Architecture Search" (RobustDARTS), ICLR 2020.
"""

import numpy as np

OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "noise",
)
"""The operations in DARTS's published order, and the noise of S4."""
NONE, MAX_POOL, AVG_POOL, SKIP, SEP_3, SEP_5, DIL_3, DIL_5, NOISE = range(len(OPS))
NUM_CELLS, NUM_NODES, NUM_SLOTS = 2, 4, 2
CELLS = ("normal", "reduce")
EDGES = tuple((source, node) for node in range(NUM_NODES) for source in range(node + 2))
"""(what it reads, node that reads it), in the order of an offer."""
FIRST_EDGES = np.array([EDGES.index((0, node)) for node in range(NUM_NODES)])
"""The number of each node's edge from input 0; its edges follow in order of what they read."""

_SHORT = dict(zip(("none", "m", "a", "s", "s3", "s5", "d3", "d5", "noise"), range(len(OPS)), strict=True))


def _offer(*cells: str) -> np.ndarray:
    """An offer from operations in short: edges are separated by commas, one cell serves as both."""
    found = np.zeros((NUM_CELLS, len(EDGES), len(OPS)), bool)
    for kind in range(NUM_CELLS):
        for edge, names in enumerate(cells[kind % len(cells)].split(",")):
            found[kind, edge, [_SHORT[name] for name in names.split()]] = True
    found.flags.writeable = False
    return found


DARTS = _offer(",".join(["none m a s s3 s5 d3 d5"] * len(EDGES)))
S1 = _offer(
    "s d3, s d5, s d5, s s3, s d3, m s, s s3, s s3, s d3, s s3, m s, s d3, d3 d5, d3 d5",
    "m a, m d3, m a, m a, s d5, m a, m s3, s d3, s d5, m a, m a, s d5, s d5, s d5",
)
S2 = _offer(",".join(["s s3"] * len(EDGES)))
S3 = _offer(",".join(["none s s3"] * len(EDGES)))
S4 = _offer(",".join(["noise s3"] * len(EDGES)))


def drawn(offer: np.ndarray) -> np.ndarray:
    """What of an offer samples and mutations choose from: all but none, bool[2, 14, 9]."""
    return offer & (np.arange(len(OPS)) != NONE)
