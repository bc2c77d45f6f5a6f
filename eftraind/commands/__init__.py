"""The daemon's own commands: running it, asking it, printing its reference pages.

Owns what happens behind `eftraind run`, `status`, `set` and their like; flags and exit statuses
are looked after by `eftraind.cli`. The offline tools have packages of their own.
"""
