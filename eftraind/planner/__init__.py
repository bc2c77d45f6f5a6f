"""`eftraind plan` and the pages it writes: what a network costs on a board, as modelled."""
