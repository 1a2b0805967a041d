"""The WRCor paper's tables, computed and held against its figures. `reproduce_main` runs it."""
