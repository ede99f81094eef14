# SPDX-License-Identifier: Apache-2.0
#
# graft_fetch_libtorch(<out>): sets <out> to the torch folder of a cached LibTorch; on first use downloads PyPI's wheel
# (about 550 MB, hash-checked) and unpacks what a CPU build needs.
#
# The cache folder is ${GRAFT_CACHE_DIR}/libtorch-<version>, outside the build folder, with the layout of
# site-packages (torch/lib, nvidia/cu13/lib) because that is where libtorch_cpu.so's own rpath looks. It comes into being
# by one rename, so an interrupted download or unpacking is never mistaken for a complete one.

set(GRAFT_TORCH_VERSION 2.11.0)
set(GRAFT_TORCH_REQUIREMENTS ${CMAKE_CURRENT_LIST_DIR}/libtorch-requirements.txt)

function(graft_download_libtorch_wheels folder)
  find_program(GRAFT_PYTHON NAMES python3 python)
  if(NOT GRAFT_PYTHON)
    message(FATAL_ERROR "LibTorch: python3 with pip is needed once, to download the wheel; install it, or name the "
                        "torch folder of an installed PyTorch 2.11 with -DGRAFT_TORCH_DIR=…")
  endif()
  if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL "x86_64")
    message(FATAL_ERROR "LibTorch: the pinned wheel is for x86_64, this machine is ${CMAKE_HOST_SYSTEM_PROCESSOR}; "
                        "install PyTorch 2.11 and name its torch folder with -DGRAFT_TORCH_DIR=…")
  endif()
  message(STATUS "LibTorch: downloading torch ${GRAFT_TORCH_VERSION} (about 550 MB, once)")
  execute_process(
    COMMAND ${GRAFT_PYTHON} -m pip --disable-pip-version-check download --no-cache-dir --no-deps
            --only-binary=:all: --require-hashes
            --implementation cp --python-version 3.11
            --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux2014_x86_64
            --requirement ${GRAFT_TORCH_REQUIREMENTS} --dest ${folder}
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "LibTorch: the download failed (pip's message is above); check the network and run again, or "
                        "name the torch folder of an installed PyTorch 2.11 with -DGRAFT_TORCH_DIR=…")
  endif()
endfunction()

function(graft_unpack_libtorch_wheels wheels folder)
  message(STATUS "LibTorch: unpacking")
  file(GLOB torch ${wheels}/torch-*.whl)
  file(ARCHIVE_EXTRACT INPUT ${torch} DESTINATION ${folder} PATTERNS
    torch/include/* torch/version.py torch-*.dist-info/METADATA torch-*.dist-info/licenses/*
    torch/lib/libc10.so torch/lib/libtorch.so torch/lib/libtorch_cpu.so torch/lib/libgomp.so*)
  foreach(part runtime:cudart cupti:cupti)   # wheel:library
    string(REPLACE ":" ";" part ${part})
    list(GET part 0 wheel)
    list(GET part 1 library)
    file(GLOB wheel ${wheels}/nvidia_cuda_${wheel}-*.whl)
    file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${folder} PATTERNS
      nvidia/*/lib/lib${library}.so* nvidia_*.dist-info/licenses/*)
  endforeach()
endfunction()

function(graft_fetch_libtorch out)
  set(home ${GRAFT_CACHE_DIR}/libtorch-${GRAFT_TORCH_VERSION})
  set(${out} ${home}/torch PARENT_SCOPE)
  if(EXISTS ${home})
    return()
  endif()

  file(MAKE_DIRECTORY ${GRAFT_CACHE_DIR})
  file(LOCK ${GRAFT_CACHE_DIR}/libtorch.lock GUARD FUNCTION TIMEOUT 1800 RESULT_VARIABLE locked)
  if(NOT locked EQUAL 0)
    message(FATAL_ERROR "LibTorch: ${GRAFT_CACHE_DIR}/libtorch.lock: ${locked}; another build is fetching LibTorch, or "
                        "the folder is not writable (choose another with -DGRAFT_CACHE_DIR=…)")
  endif()
  if(EXISTS ${home})   # the build that held the lock has fetched it
    return()
  endif()

  set(work ${home}.part)   # left over only by an interrupted run: the lock is ours
  file(REMOVE_RECURSE ${work})
  file(MAKE_DIRECTORY ${work}/wheels ${work}/tree)
  graft_download_libtorch_wheels(${work}/wheels)
  graft_unpack_libtorch_wheels(${work}/wheels ${work}/tree)
  file(RENAME ${work}/tree ${home})
  file(REMOVE_RECURSE ${work})
endfunction()
