"""`eftraind bitstream`: which bitstreams are there, and whether they are what they say."""
