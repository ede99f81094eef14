// SPDX-License-Identifier: Apache-2.0
// graft.tensor_data/1
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "model/slot_errors.h"
#include "model/tensor_handle.h"
#include "model/tensor_services.h"
#include "plugin/host_services.h"
#include "support/strings.h"

namespace graft::model {

namespace {

std::int32_t device_code(const at::Tensor& tensor) {
  if (tensor.is_cpu()) return GRAFT_DEVICE_CPU;
  if (tensor.is_cuda()) return GRAFT_DEVICE_CUDA;
  if (tensor.is_meta()) return GRAFT_DEVICE_NONE;
  throw std::invalid_argument(
      support::cat("the tensor is on ", tensor.device().str(), ", expected cpu or cuda"));
}

graft_tensor_info info_of(const at::Tensor& tensor) {
  graft_tensor_info info{};
  info.sizes = tensor.sizes().data();
  info.strides = tensor.strides().data();
  info.data = tensor.numel() == 0 || tensor.is_meta() ? nullptr : tensor.mutable_data_ptr();
  info.rank = static_cast<std::uint32_t>(tensor.dim());
  info.dtype = code_of_dtype(tensor.scalar_type());
  info.device = device_code(tensor);
  info.device_index = std::max<std::int32_t>(tensor.device().index(), 0);
  info.requires_grad = tensor.requires_grad() ? 1 : 0;
  info.is_contiguous = tensor.is_contiguous() ? 1 : 0;
  return info;
}

graft_status describe(const graft_tensor_data*, graft_tensor handle, graft_tensor_info* out,
                      graft_error* error) {
  try {
    if (handle == nullptr || out == nullptr)
      throw std::invalid_argument("the tensor and the output must not be NULL");
    if (out->hdr.struct_size < sizeof(graft_hdr)) {
      throw std::invalid_argument(support::cat("out->hdr.struct_size is ", out->hdr.struct_size,
                                               "; set it to sizeof(graft_tensor_info) before the call"));
    }
    const at::Tensor tensor = share(handle);
    graft_tensor_info info = info_of(tensor);
    if (info.dtype < 0) {
      return plugin::fail(
          error, GRAFT_E_UNSUPPORTED,
          support::cat("describe: the dtype ", name_of_dtype(tensor.scalar_type()), " has no code"));
    }
    info.hdr.struct_size = std::min<std::uint32_t>(out->hdr.struct_size, sizeof(info));
    std::memcpy(out, &info, info.hdr.struct_size);
    return GRAFT_OK;
  } catch (...) {
    return report_exception(error, "describe");
  }
}

graft_status create(const graft_tensor_data*, std::int32_t dtype, const std::int64_t* sizes,
                    std::uint32_t rank, const void* data, graft_tensor* out, graft_error* error) {
  try {
    if (out == nullptr || (sizes == nullptr && rank > 0))
      throw std::invalid_argument("sizes and out must not be NULL");
    const at::IntArrayRef shape(sizes, rank);
    for (const std::int64_t size : shape) {
      if (size < 0) throw std::invalid_argument(support::cat("a size is ", size, ", expected 0 or more"));
    }
    const auto options = at::TensorOptions().dtype(dtype_of_code(dtype));
    at::Tensor tensor = data == nullptr ? at::zeros(shape, options) : at::empty(shape, options);
    if (data != nullptr && tensor.numel() > 0) std::memcpy(tensor.mutable_data_ptr(), data, tensor.nbytes());
    *out = give(std::move(tensor));
    return GRAFT_OK;
  } catch (...) {
    return report_exception(error, "create");
  }
}

}  // namespace

const graft_tensor_data* tensor_data_service() {
  static const graft_tensor_data table = {GRAFT_HDR(graft_tensor_data), plugin::host_table(), describe,
                                          create};
  return &table;
}

}  // namespace graft::model
