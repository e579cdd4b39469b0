"""Sizes that the compiled bank of experts and those who give it memory must agree on."""

HEAD, BLOCK, COMBINED = 4, 264, 128
"""Numbers before a plan's blocks; most rows of a block (a whole number of tall tiles); inputs of a piece of `combine`."""
CHUNK, STRIP = 128, 128
"""Rows and columns that are brought together at once for the gradient of a weight."""
WIDEST, LINES, PANEL = 16, 48, 32
"""The widest vector and the largest tile that a processor may have: what scratch memory is measured by."""
