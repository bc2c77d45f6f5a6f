"""From a network to command programs: tile geometry, layout, lowering."""
