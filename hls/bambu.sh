#!/bin/sh
# Never run by us on this kernel. RTL by PandA-bambu and its co-simulation against sim/test_rtl.cpp, bit for
# bit; the smallest build, because bambu pipelines no loops: its cycle counts say nothing about the design.
set -eu
cd "$(dirname "$0")"
if ! command -v bambu > /dev/null; then
  echo "skipped: bambu is not installed (PandA-bambu 2024.10 or later, and Verilator)"
  exit 0
fi
out=$1
here=$PWD
mkdir -p "$out"
cd "$out"
bambu "$here/src/eftrain.cpp" --top-fname=eftrain --std=c++14 --compiler=I386_CLANG16 -O2 \
  -I"$here/src" -I"$here/boards/small" --generate-interface=INFER \
  --device-name=xc7z020-1clg484 --clock-period=10 \
  --generate-tb="$here/sim/test_rtl.cpp" --simulate --simulator=VERILATOR --max-ulp=0
