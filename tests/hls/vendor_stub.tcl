# Stands in for Vivado and Vitis HLS: tclsh vendor_stub.tcl SCRIPT. Knows the commands that both guides list
# (UG835, UG1399) and no other, writes each call as a line of fields into $EFT_RECORD, and leaves the files
# that the tools would leave.

proc record {name words} {
  set file [open $::env(EFT_RECORD) a]
  puts $file [join [list $name {*}$words] "\x1f"]
  close $file
}

proc leave {path text} {
  file mkdir [file dirname $path]
  set file [open $path w]
  puts $file $text
  close $file
}

foreach name {
  open_project set_top add_files open_solution set_part create_clock config_compile config_interface csynth_design
  create_bd_cell connect_bd_net connect_bd_intf_net apply_bd_automation set_property update_ip_catalog
  create_bd_design assign_bd_address validate_bd_design save_bd_design launch_runs wait_on_run open_run
} { proc $name args "record $name \$args" }

foreach name {get_bd_pins get_bd_intf_pins get_bd_cells get_files get_runs current_fileset current_project} {
  proc $name args { return [lindex $args 0] }
}

proc get_ipdefs args {
  regexp {NAME == (\w+)} $args whole name
  return xilinx.com:ip:$name:1.0
}
proc get_timing_paths args { return $args }
proc get_property {name object} {
  switch $name {
    CONFIG.FREQ_HZ { return 99999001.0 }
    PROGRESS { return $::env(EFT_PROGRESS) }
    SLACK { return $::env(EFT_SLACK) }
  }
  error "property $name is not one that this stand-in knows"
}
proc make_wrapper args { return wrapper.v }
proc version args { return 2024.1 }
proc export_design args {
  record export_design $args
  leave kernel/solution/impl/ip/component.xml <component/>
}
proc create_project args {
  record create_project $args
  leave vivado/eftrain.gen/sources_1/bd/design_1/hw_handoff/design_1.hwh <EDKSYSTEM/>
}
proc write_bitstream args {
  record write_bitstream $args
  leave [lindex $args end] "not a bitstream"
}
proc report_utilization args { file copy -force $::env(EFT_UTILIZATION) [lindex $args end] }

source [lindex $argv 0]
