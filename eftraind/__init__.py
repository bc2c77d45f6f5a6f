"""eftraind: a daemon that lets a robot keep learning, on an FPGA training accelerator or a CPU."""
