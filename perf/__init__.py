"""Benchmarks: ``python -m perf``.

What is compared is measured side by side in one run, and told as ratios: absolute times are the machine's.
"""

from atelier.quiet import leave_out_notes

leave_out_notes()
