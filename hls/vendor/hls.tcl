# Never run by us: no machine of ours has Vitis HLS. Written for 2022.1 to current.
#
# The kernel as an IP for Vivado. Run in the directory of build.h and facts.tcl, which are generated:
#   vitis-run --mode hls --tcl hls.tcl      (2023.2 and later)
#   vitis_hls -f hls.tcl                    (up to 2024.2)
# The directory of the sources comes in the environment, because vitis-run passes no arguments.

source facts.tcl
set sources $::env(EFT_SOURCES)

open_project -reset kernel
set_top eftrain
add_files $sources/eftrain.cpp -cflags "-std=c++14 -ffp-contract=off -I$sources -I[pwd]"
open_solution -reset -flow_target vivado solution
set_part $part
create_clock -period [format %.3f [expr {1000.0 / $clock_mhz}]] -name default
# Every loop says what it wants; none is pipelined behind our back. Pointers take two words (docs/kernel.md).
config_compile -pipeline_loops 0
config_interface -m_axi_addr64=1 -m_axi_max_widen_bitwidth 0
csynth_design
export_design -format ip_catalog -rtl verilog
exit
