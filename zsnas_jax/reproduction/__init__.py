"""The WRCor paper's tables on NAS-Bench-201, computed and held against its figures. `reproduce_main` runs it."""
