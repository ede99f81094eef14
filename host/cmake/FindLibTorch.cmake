# SPDX-License-Identifier: Apache-2.0
#
# Finds LibTorch 2.11 and defines LibTorch::LibTorch (libtorch_cpu and libc10; never libtorch_cuda, which the host loads
# at run time when it is told to use a GPU). Looks, in this order, at
#   1. GRAFT_TORCH_DIR, a CMake or environment variable: the torch folder of an installed PyTorch or of a LibTorch zip;
#   2. the PyTorch of the python3 in PATH, if there is one of the right version;
#   3. PyPI's wheel, downloaded once into GRAFT_CACHE_DIR (default ~/.cache/graft).
# PyTorch's own TorchConfig.cmake is not used: it insists on a CUDA toolkit, and CMake 3.25 does not know CUDA 13.
#
# Sets LibTorch_VERSION, LibTorch_DIR (the torch folder), LibTorch_INCLUDE_DIRS, LibTorch_LIBRARY_DIR.

include(${CMAKE_CURRENT_LIST_DIR}/FetchLibTorch.cmake)
include(FindPackageHandleStandardArgs)

set(GRAFT_TORCH_DIR "$ENV{GRAFT_TORCH_DIR}" CACHE PATH "torch folder of an installed PyTorch; empty: find or fetch one")
if(DEFINED ENV{GRAFT_CACHE_DIR})
  set(graft_default_cache $ENV{GRAFT_CACHE_DIR})
else()
  set(graft_default_cache $ENV{HOME}/.cache/graft)
endif()
set(GRAFT_CACHE_DIR ${graft_default_cache} CACHE PATH "where LibTorch is kept between builds")

# graft_torch_version(<torch folder> <out>): its version, or "" if it is no complete torch folder.
function(graft_torch_version folder out)
  set(${out} "" PARENT_SCOPE)
  foreach(file include/ATen/core/Tensor.h lib/libtorch_cpu.so lib/libc10.so)
    if(NOT EXISTS ${folder}/${file})
      return()
    endif()
  endforeach()
  foreach(file version.py ../build-version build-version)   # a wheel has the first, a LibTorch zip another
    if(EXISTS ${folder}/${file})
      file(STRINGS ${folder}/${file} line REGEX "[0-9]+\\.[0-9]+\\.[0-9]+" LIMIT_COUNT 1)
      string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" version "${line}")
      set(${out} "${version}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# graft_installed_torch(<out>): torch folder of the python3 in PATH, without importing it, or "".
function(graft_installed_torch out)
  set(${out} "" PARENT_SCOPE)
  find_program(GRAFT_PYTHON NAMES python3 python)
  if(GRAFT_PYTHON)
    execute_process(
      COMMAND ${GRAFT_PYTHON} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
      OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE status)
    if(status EQUAL 0)
      set(${out} ${folder} PARENT_SCOPE)
    endif()
  endif()
endfunction()

string(REGEX MATCH "^[0-9]+\\.[0-9]+\\." graft_torch_series ${GRAFT_TORCH_VERSION})
set(LibTorch_DIR "")
if(GRAFT_TORCH_DIR)
  graft_torch_version(${GRAFT_TORCH_DIR} LibTorch_VERSION)
  if(NOT LibTorch_VERSION)
    message(FATAL_ERROR "GRAFT_TORCH_DIR=${GRAFT_TORCH_DIR} is no torch folder: it lacks include/ATen, lib/libtorch_cpu.so "
                        "or version.py; name the folder that `python3 -c 'import torch; print(torch.__path__[0])'` prints")
  endif()
  if(NOT LibTorch_VERSION MATCHES "^${graft_torch_series}")
    message(WARNING "GRAFT_TORCH_DIR holds PyTorch ${LibTorch_VERSION}; graft is built and tested with ${GRAFT_TORCH_VERSION}")
  endif()
  set(LibTorch_DIR ${GRAFT_TORCH_DIR})
elseif(GRAFT_TORCH_CHOSEN AND EXISTS ${GRAFT_TORCH_CHOSEN}/lib/libtorch_cpu.so)
  # Once configured, a build folder stays with its LibTorch, whatever environment is active at the next build.
  set(LibTorch_DIR ${GRAFT_TORCH_CHOSEN})
  graft_torch_version(${LibTorch_DIR} LibTorch_VERSION)
else()
  graft_installed_torch(graft_installed)
  if(graft_installed)
    graft_torch_version(${graft_installed} LibTorch_VERSION)
    if(LibTorch_VERSION MATCHES "^${graft_torch_series}")
      set(LibTorch_DIR ${graft_installed})
    else()
      message(STATUS "LibTorch: the installed PyTorch (${graft_installed}, version '${LibTorch_VERSION}') is not "
                     "${graft_torch_series}x and is not used")
    endif()
  endif()
endif()
if(NOT LibTorch_DIR)
  graft_fetch_libtorch(LibTorch_DIR)
  graft_torch_version(${LibTorch_DIR} LibTorch_VERSION)
  if(NOT LibTorch_VERSION STREQUAL GRAFT_TORCH_VERSION)
    message(FATAL_ERROR "LibTorch: the cache ${LibTorch_DIR} is damaged; delete the folder and configure again")
  endif()
endif()

set(GRAFT_TORCH_CHOSEN ${LibTorch_DIR} CACHE INTERNAL "the torch folder this build folder uses")

set(LibTorch_INCLUDE_DIRS ${LibTorch_DIR}/include ${LibTorch_DIR}/include/torch/csrc/api/include)
set(LibTorch_LIBRARY_DIR ${LibTorch_DIR}/lib)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LibTorch_DIR LibTorch_LIBRARY_DIR VERSION_VAR LibTorch_VERSION)
message(STATUS "LibTorch: ${LibTorch_VERSION} in ${LibTorch_DIR}")

if(NOT TARGET LibTorch::LibTorch)
  add_library(LibTorch::c10 SHARED IMPORTED)
  set_target_properties(LibTorch::c10 PROPERTIES IMPORTED_LOCATION ${LibTorch_LIBRARY_DIR}/libc10.so)

  add_library(LibTorch::LibTorch SHARED IMPORTED)
  set_target_properties(LibTorch::LibTorch PROPERTIES IMPORTED_LOCATION ${LibTorch_LIBRARY_DIR}/libtorch_cpu.so)
  target_include_directories(LibTorch::LibTorch SYSTEM INTERFACE ${LibTorch_INCLUDE_DIRS})
  target_compile_definitions(LibTorch::LibTorch INTERFACE _GLIBCXX_USE_CXX11_ABI=1)
  target_link_libraries(LibTorch::LibTorch INTERFACE LibTorch::c10)

  # libtorch_cpu.so of a CUDA wheel names libcudart and libcupti; it finds them by its own rpath when it runs, the
  # linker has to be told.
  file(GLOB graft_cuda_libraries ${LibTorch_DIR}/../nvidia/*/lib/libcudart.so.* ${LibTorch_DIR}/../nvidia/*/lib/libcupti.so.*)
  foreach(library IN LISTS graft_cuda_libraries)
    cmake_path(GET library PARENT_PATH folder)
    target_link_options(LibTorch::LibTorch INTERFACE -Wl,-rpath-link,${folder})
  endforeach()
endif()
