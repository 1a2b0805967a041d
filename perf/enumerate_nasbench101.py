"""Enumerates NAS-Bench-101, orders it by the published hash and writes search_spaces/nasbench101/cells.npz.

    python perf/enumerate_nasbench101.py [PATH]

Takes about 75 seconds, nearly all of it md5.
"""

import sys

from zsnas_jax.search_spaces.nasbench101.cells import write_table

if __name__ == "__main__":
    write_table(*sys.argv[1:])
