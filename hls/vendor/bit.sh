#!/bin/sh
# Never run by us with the vendor's tools, only with stand-ins. BOARD's bitstream and manifest, by way of
# build description, Vitis HLS and Vivado:  bit.sh BOARD OUT BITSTREAMS
set -eu
here=$(cd "$(dirname "$0")" && pwd)
board=$1 out=$2 bitstreams=$3
: "${PYTHON:=python3}" "${NETWORK:=cifar1x}"

missing() {
  echo "no $1: install AMD Vitis (with Vivado), 2022.1 or later, and source its settings64.sh." >&2
  echo "Its licence-free edition covers the XC7Z020 of PYNQ-Z1 and Z2; for other parts see AMD's list." >&2
  exit 1
}
command -v vivado > /dev/null || missing vivado
if command -v vitis-run > /dev/null; then
  hls="vitis-run --mode hls --tcl"
elif command -v vitis_hls > /dev/null; then
  hls="vitis_hls -f"
else
  missing "vitis-run or vitis_hls"
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
if [ -n "${BUILD:-}" ]; then
  cp "$BUILD" "$out/build.json"
else
  "$PYTHON" -m eftraind plan --kernel hls --network "$NETWORK" --board "$board" --build-description "$out/build.json"
fi
"$PYTHON" -m eftraind.accel.kernel board "$out/build.json"
(
  cd "$out"
  EFT_SOURCES=$here/../src $hls "$here/hls.tcl"
  vivado -mode batch -nojournal -log vivado.log -source "$here/vivado.tcl"
)
"$PYTHON" -m eftraind bitstream seal "$out" --folder "$bitstreams"
