# eftraind::libzmq: the C library with its headers. Debian's libzmq3-dev has no CMake package of
# its own, so it is looked for as files; EFTRAIND_ZMQ_LIBRARY and EFTRAIND_ZMQ_INCLUDE override.
if(NOT TARGET eftraind::libzmq)
  find_path(EFTRAIND_ZMQ_INCLUDE zmq.h)
  find_library(EFTRAIND_ZMQ_LIBRARY zmq)
  if(NOT EFTRAIND_ZMQ_INCLUDE OR NOT EFTRAIND_ZMQ_LIBRARY)
    message(FATAL_ERROR "libzmq and zmq.h were not found: apt-get install libzmq3-dev")
  endif()
  add_library(eftraind::libzmq UNKNOWN IMPORTED)
  set_target_properties(eftraind::libzmq PROPERTIES
    IMPORTED_LOCATION "${EFTRAIND_ZMQ_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${EFTRAIND_ZMQ_INCLUDE}")
endif()
