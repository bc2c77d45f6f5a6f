# Never run by us: no machine of ours has Vivado. Written for 2022.1 to current.
#
# Block design around the kernel, to .bit and .hwh: processing system, one HP port for each AXI master,
# registers, interrupt controller, a clock counter. Run in the directory where hls.tcl left the kernel:
#   vivado -mode batch -source vivado.tcl
# The project knows the part, not the board: DDR and pins are set up before Linux starts, by the boot
# image of the board, and loading a bitstream leaves them alone. No boot image can be made of it.

source facts.tcl

# The newest version that this Vivado has of an IP.
proc ip {name cell args} {
  set vlnv [get_ipdefs -all -filter "NAME == $name && UPGRADE_VERSIONS == \"\""]
  if {[llength $vlnv] != 1} { error "expected one IP $name, found: $vlnv" }
  create_bd_cell -type ip -vlnv $vlnv $cell
  if {[llength $args]} { set_property -dict $args [get_bd_cells $cell] }
}

proc wire {from to} { connect_bd_net [get_bd_pins $from] [get_bd_pins $to] }
proc bus {from to} { connect_bd_intf_net [get_bd_intf_pins $from] [get_bd_intf_pins $to] }

# Both return the pins that the rest connects to.
proc ps_zynq7000 {clock_mhz port_bits} {
  set settings [list CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ 50 CONFIG.PCW_USE_M_AXI_GP0 1 \
    CONFIG.PCW_EN_CLK0_PORT 1 CONFIG.PCW_EN_RST0_PORT 1 CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $clock_mhz \
    CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1]
  foreach port {0 1 2 3} {
    lappend settings CONFIG.PCW_USE_S_AXI_HP$port 1 CONFIG.PCW_S_AXI_HP${port}_DATA_WIDTH $port_bits
  }
  ip processing_system7 ps {*}$settings
  apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
    -config {make_external "FIXED_IO, DDR" apply_board_preset "0"} [get_bd_cells ps]
  return [dict create clock ps/FCLK_CLK0 reset ps/FCLK_RESET0_N interrupt ps/IRQ_F2P \
    registers ps/M_AXI_GP0 memory {ps/S_AXI_HP0 ps/S_AXI_HP1 ps/S_AXI_HP2 ps/S_AXI_HP3} \
    clocked {ps/M_AXI_GP0_ACLK ps/S_AXI_HP0_ACLK ps/S_AXI_HP1_ACLK ps/S_AXI_HP2_ACLK ps/S_AXI_HP3_ACLK}]
}

# The clock from the IO PLL: up to 3.1.2 pynq writes dividers but leaves the choice of PLL alone.
proc ps_zynqmp {clock_mhz port_bits} {
  set settings [list CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz CONFIG.PSU__USE__IRQ0 1 \
    CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0]
  foreach port {2 3 4 5} {
    lappend settings CONFIG.PSU__USE__S_AXI_GP$port 1 CONFIG.PSU__SAXIGP${port}__DATA_WIDTH $port_bits
  }
  ip zynq_ultra_ps_e ps {*}$settings
  return [dict create clock ps/pl_clk0 reset ps/pl_resetn0 interrupt ps/pl_ps_irq0 \
    registers ps/M_AXI_HPM0_FPD \
    memory {ps/S_AXI_HP0_FPD ps/S_AXI_HP1_FPD ps/S_AXI_HP2_FPD ps/S_AXI_HP3_FPD} \
    clocked {ps/maxihpm0_fpd_aclk ps/saxihp0_fpd_aclk ps/saxihp1_fpd_aclk ps/saxihp2_fpd_aclk ps/saxihp3_fpd_aclk}]
}

create_project -force -part $part eftrain vivado
set_property ip_repo_paths [pwd]/kernel/solution/impl/ip [current_project]
update_ip_catalog
create_bd_design design_1

set ps [ps_$family $clock_mhz $port_bits]
set clock [dict get $ps clock]
set clocked [dict get $ps clocked]
ip eftrain eftrain_0
ip proc_sys_reset reset
ip smartconnect registers CONFIG.NUM_SI 1 CONFIG.NUM_MI 2
ip axi_intc interrupts CONFIG.C_IRQ_CONNECTION 1
ip c_counter_binary cycles CONFIG.Output_Width 32
lappend clocked eftrain_0/ap_clk reset/slowest_sync_clk registers/aclk interrupts/s_axi_aclk cycles/CLK
set resets {eftrain_0/ap_rst_n registers/aresetn interrupts/s_axi_aresetn}

# A port for each master; SmartConnect converts width and AXI3 where the port has another.
foreach master {features weights results commands} port [dict get $ps memory] {
  ip smartconnect memory_$master CONFIG.NUM_SI 1 CONFIG.NUM_MI 1
  bus eftrain_0/m_axi_$master memory_$master/S00_AXI
  bus memory_$master/M00_AXI $port
  lappend clocked memory_$master/aclk
  lappend resets memory_$master/aresetn
}

bus [dict get $ps registers] registers/S00_AXI
bus registers/M00_AXI eftrain_0/s_axi_control
bus registers/M01_AXI interrupts/s_axi
# Through a controller even though there is one source: pynq finds no interrupt without.
wire eftrain_0/interrupt interrupts/intr
wire interrupts/irq [dict get $ps interrupt]
wire cycles/Q eftrain_0/clock
foreach pin $clocked { wire $clock $pin }
wire [dict get $ps reset] reset/ext_reset_in
foreach pin $resets { wire reset/peripheral_aresetn $pin }

assign_bd_address
validate_bd_design
save_bd_design
set clock_hz [expr {round([get_property CONFIG.FREQ_HZ [get_bd_pins $clock]])}]

add_files -norecurse [make_wrapper -files [get_files design_1.bd] -top]
set_property top design_1_wrapper [current_fileset]
launch_runs impl_1 -jobs 4
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} { error "implementation failed: see vivado/eftrain.runs" }
open_run impl_1
foreach delay {max min} {
  set slack [get_property SLACK [get_timing_paths -delay_type $delay]]
  if {$slack < 0} { error "timing is not met ($delay delay, slack $slack ns): plan a slower clock" }
}

report_utilization -file utilization.txt
write_bitstream -force eftrain.bit
file copy -force vivado/eftrain.gen/sources_1/bd/design_1/hw_handoff/design_1.hwh eftrain.hwh
set placed [open placed.json w]
puts $placed "{\"clock_hz\": $clock_hz, \"tool\": \"Vivado [version -short]\"}"
close $placed
