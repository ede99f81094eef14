# SPDX-License-Identifier: Apache-2.0
# A copy of LibTorch in lib/libtorch, in the layout its own rpath expects: the installed tree then needs nothing else.

set(graft_libtorch_dir ${CMAKE_INSTALL_LIBDIR}/libtorch)
file(GLOB graft_torch_files ${LibTorch_LIBRARY_DIR}/libc10.so ${LibTorch_LIBRARY_DIR}/libtorch_cpu.so
                            ${LibTorch_LIBRARY_DIR}/libgomp*.so*)
install(FILES ${graft_torch_files} DESTINATION ${graft_libtorch_dir}/torch/lib)
foreach(library IN LISTS graft_cuda_libraries)
  cmake_path(GET library PARENT_PATH folder)
  file(RELATIVE_PATH folder ${LibTorch_DIR}/.. ${folder})
  install(FILES ${library} DESTINATION ${graft_libtorch_dir}/${folder})
endforeach()
file(GLOB graft_torch_licences ${LibTorch_DIR}/../torch-*.dist-info/licenses/*)
install(FILES ${graft_torch_licences} DESTINATION ${graft_libtorch_dir}/licenses)
