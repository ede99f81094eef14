// SPDX-License-Identifier: Apache-2.0
// The services through which plugins compute: what is checked here is what <graft/tensor.h> promises.
#include "model/tensor_services.h"

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "model/tensor_handle.h"

namespace graft::model {
namespace {

struct Message {
  char text[512] = "";
  graft_error error{text, sizeof(text), 0};
  std::string str() const { return {text, error.length}; }
};

graft_str str(std::string_view text) {
  return {text.data(), text.size()};
}

graft_value value(graft_tensor tensor) {
  graft_value out{};
  out.tag = GRAFT_TENSOR;
  out.u.tensor = tensor;
  return out;
}
graft_value value(const at::Tensor& tensor) {
  return value(lend(tensor));
}
graft_value value(double number) {
  graft_value out{};
  out.tag = GRAFT_FLOAT;
  out.u.f = number;
  return out;
}
graft_value value(std::int64_t number, std::uint32_t tag = GRAFT_INT) {
  graft_value out{};
  out.tag = tag;
  out.u.i = number;
  return out;
}
// `numbers` must outlive the value: a temporary lives until the end of the call it stands in.
graft_value ints(const std::vector<std::int64_t>& numbers) {
  graft_value out{};
  out.tag = GRAFT_INTS;
  out.count = static_cast<std::uint32_t>(numbers.size());
  out.u.ints = numbers.data();
  return out;
}
graft_value none() {
  return graft_value{};
}

graft_op find(std::string_view name, std::string_view overload = "") {
  Message message;
  graft_op op = nullptr;
  EXPECT_EQ(ops_service()->find(ops_service(), str(name), str(overload), &op, &message.error), GRAFT_OK)
      << message.str();
  return op;
}

at::Tensor call(std::string_view name, std::string_view overload, const std::vector<graft_value>& in) {
  Message message;
  graft_value out{};
  EXPECT_EQ(ops_service()->call(ops_service(), find(name, overload), in.data(),
                                static_cast<std::uint32_t>(in.size()), &out, 1, &message.error),
            GRAFT_OK)
      << message.str();
  return out.tag == GRAFT_TENSOR ? take(out.u.tensor) : at::Tensor();
}

std::string failure(std::string_view name, std::string_view overload, const std::vector<graft_value>& in,
                    graft_status status, std::uint32_t n_out = 1) {
  Message message;
  std::vector<graft_value> out(n_out, value(std::int64_t{77}));
  EXPECT_EQ(ops_service()->call(ops_service(), find(name, overload), in.data(),
                                static_cast<std::uint32_t>(in.size()), out.data(), n_out, &message.error),
            status);
  for (const graft_value& untouched : out) EXPECT_EQ(untouched.u.i, 77);
  return message.str();
}

TEST(OpsService, CallsAnOperatorAndRecordsAutograd) {
  const at::Tensor x = at::randn({5, 3}), w = at::randn({4, 3}).requires_grad_();
  const at::Tensor y = call("aten::linear", "", {value(x), value(w)});  // bias takes its default, None
  EXPECT_TRUE(at::equal(y, at::linear(x, w)));
  y.sum().backward();
  EXPECT_TRUE(at::equal(w.grad(), at::ones({5, 4}).t().mm(x)));
}

TEST(OpsService, TakesScalarsOfEveryKind) {
  const at::Tensor x = at::arange(4).to(at::kFloat);
  EXPECT_TRUE(at::equal(call("aten::mul", "Scalar", {value(x), value(0.5)}), x.mul(0.5)));
  EXPECT_TRUE(
      at::equal(call("aten::add", "Tensor", {value(x), value(x), value(std::int64_t{2})}), x.add(x, 2)));
  EXPECT_TRUE(at::equal(call("aten::mul", "Scalar", {value(x), value(std::int64_t{1}, GRAFT_BOOLEAN)}), x));
}

TEST(OpsService, TakesListsDtypesStringsAndDevices) {
  const at::Tensor x = at::randn({2, 6});
  EXPECT_EQ(call("aten::view", "", {value(x), ints({3, 4})}).sizes(), (at::IntArrayRef{3, 4}));
  EXPECT_TRUE(at::equal(
      call("aten::sum", "dim_IntList", {value(x), ints({0}), value(std::int64_t{0}, GRAFT_BOOLEAN)}),
      x.sum(0)));
  const at::Tensor whole =
      call("aten::to", "dtype", {value(x), value(std::int64_t{GRAFT_FLOAT64}, GRAFT_DTYPE)});
  EXPECT_EQ(whole.scalar_type(), at::kDouble);
  graft_value cpu = value(std::int64_t{GRAFT_DEVICE_CPU}, GRAFT_DEVICE);
  const at::Tensor zeros = call("aten::zeros", "", {ints({2, 2}), none(), none(), cpu});
  EXPECT_TRUE(at::equal(zeros, at::zeros({2, 2})));
  graft_value tanh{};
  tanh.tag = GRAFT_STRING;
  tanh.u.str = str("tanh");
  EXPECT_EQ(call("aten::gelu", "", {value(x), tanh}).sizes(), x.sizes());
}

TEST(OpsService, TakesTensorListsAndAbsentTensorsInThem) {
  const at::Tensor x = at::arange(12).reshape({3, 4}), rows = at::arange(2);
  std::vector<graft_tensor> parts = {lend(x), lend(x)};
  graft_value list{};
  list.tag = GRAFT_TENSORS;
  list.count = 2;
  list.u.tensors = parts.data();
  EXPECT_EQ(call("aten::cat", "", {list, value(std::int64_t{1})}).size(1), 8);
  parts = {nullptr, lend(rows)};  // x[:, rows]
  EXPECT_EQ(call("aten::index", "Tensor", {value(x), list}).sizes(), (at::IntArrayRef{3, 2}));
  parts = {nullptr, lend(x)};
  EXPECT_NE(failure("aten::cat", "", {list}, GRAFT_E_INVALID_ARGUMENT).find("tensors"), std::string::npos);
}

TEST(OpsService, ANumberStandsForAListOfFixedLength) {
  const at::Tensor x = at::randn({1, 1, 4, 4});
  EXPECT_EQ(call("aten::avg_pool2d", "", {value(x), value(std::int64_t{2})}).sizes(),
            (at::IntArrayRef{1, 1, 2, 2}));
}

TEST(OpsService, NoneInTheMiddleTakesTheSchemasDefault) {
  const at::Tensor x = at::randn({6});
  const at::Tensor sorted =
      call("aten::slice", "Tensor", {value(x), none(), value(std::int64_t{2}), none(), none()});
  EXPECT_TRUE(at::equal(sorted, x.slice(0, 2)));
}

TEST(OpsService, WritesSeveralResultsAndTheElementsOfLists) {
  const at::Tensor x = at::arange(6);
  Message message;
  std::vector<graft_value> in = {value(x), value(std::int64_t{2})};
  graft_value parts[3] = {};
  ASSERT_EQ(ops_service()->call(ops_service(), find("aten::split", "Tensor"), in.data(), 2, parts, 3,
                                &message.error),
            GRAFT_OK)
      << message.str();
  for (graft_value& part : parts) EXPECT_EQ(take(part.u.tensor).numel(), 2);
  graft_value top[2] = {};
  ASSERT_EQ(ops_service()->call(ops_service(), find("aten::topk"), in.data(), 2, top, 2, &message.error),
            GRAFT_OK);
  EXPECT_TRUE(at::equal(take(top[0].u.tensor), take(top[1].u.tensor)));  // values 5, 4 at 5, 4
  graft_value item{};
  const at::Tensor three = x.select(0, 3);
  in = {value(three)};
  ASSERT_EQ(ops_service()->call(ops_service(), find("aten::item"), in.data(), 1, &item, 1, &message.error),
            GRAFT_OK);
  EXPECT_EQ(item.tag, GRAFT_INT);
  EXPECT_EQ(item.u.i, 3);
}

TEST(OpsService, FailuresCarryATextAndLeaveOutputsAlone) {
  const at::Tensor a = at::randn({4, 64}), b = at::randn({3, 3});
  const std::string text = failure("aten::mm", "", {value(a), value(b)}, GRAFT_E_INVALID_ARGUMENT);
  EXPECT_NE(text.find("aten::mm"), std::string::npos);
  EXPECT_NE(text.find("mat1 and mat2 shapes cannot be multiplied (4x64 and 3x3)"), std::string::npos) << text;
  EXPECT_EQ(text.find("Exception raised from"), std::string::npos) << text;
  EXPECT_NE(failure("aten::mm", "", {value(a)}, GRAFT_E_INVALID_ARGUMENT).find("mat2"), std::string::npos);
  EXPECT_NE(failure("aten::mm", "", {value(a), value(2.0)}, GRAFT_E_INVALID_ARGUMENT).find("GRAFT_FLOAT"),
            std::string::npos);
  EXPECT_NE(failure("aten::mm", "", {value(a), value(graft_tensor{})}, GRAFT_E_INVALID_ARGUMENT).find("NULL"),
            std::string::npos);
  EXPECT_NE(failure("aten::relu", "", {value(a)}, GRAFT_E_INVALID_ARGUMENT, 2).find("1 results"),
            std::string::npos);
  EXPECT_NE(failure("aten::relu", "", {value(a), value(a)}, GRAFT_E_INVALID_ARGUMENT).find("takes 1"),
            std::string::npos);
}

TEST(OpsService, TellsWhenThereIsNoSuchOperator) {
  Message message;
  graft_op op = nullptr;
  EXPECT_EQ(ops_service()->find(ops_service(), str("aten::linaer"), str(""), &op, &message.error),
            GRAFT_E_UNSUPPORTED);
  EXPECT_EQ(op, nullptr);
  EXPECT_NE(message.str().find("aten::linaer"), std::string::npos);
}

TEST(OpsService, CountsReferences) {
  at::Tensor x = at::randn({2});
  const graft_tensor handle = give(x);
  EXPECT_EQ(x.use_count(), 2);
  ops_service()->retain(ops_service(), handle);
  EXPECT_EQ(x.use_count(), 3);
  ops_service()->release(ops_service(), handle);
  ops_service()->release(ops_service(), handle);
  EXPECT_EQ(x.use_count(), 1);
  ops_service()->retain(ops_service(), nullptr);
  ops_service()->release(ops_service(), nullptr);
  call("aten::add", "Tensor", {value(x), value(x)});
  EXPECT_EQ(x.use_count(), 1);
}

TEST(TensorDataService, DescribesATensor) {
  const at::Tensor x = at::zeros({2, 3}).to(at::kBFloat16).t();
  graft_tensor_info info = {};
  info.hdr.struct_size = sizeof(info);
  Message message;
  ASSERT_EQ(tensor_data_service()->describe(tensor_data_service(), lend(x), &info, &message.error), GRAFT_OK);
  EXPECT_EQ(info.rank, 2U);
  EXPECT_EQ(info.sizes[0], 3);
  EXPECT_EQ(info.strides[0], 1);
  EXPECT_EQ(info.data, x.data_ptr());
  EXPECT_EQ(info.dtype, GRAFT_BFLOAT16);
  EXPECT_EQ(info.device, GRAFT_DEVICE_CPU);
  EXPECT_EQ(info.is_contiguous, 0);
}

TEST(TensorDataService, FillsNoMoreThanTheCallersStruct) {
  const at::Tensor x = at::zeros({2, 3});
  graft_tensor_info info = {};
  info.hdr.struct_size = offsetof(graft_tensor_info, rank);
  info.rank = 99;
  ASSERT_EQ(tensor_data_service()->describe(tensor_data_service(), lend(x), &info, nullptr), GRAFT_OK);
  EXPECT_EQ(info.sizes[1], 3);
  EXPECT_EQ(info.rank, 99U);
  info.hdr.struct_size = 0;
  EXPECT_EQ(tensor_data_service()->describe(tensor_data_service(), lend(x), &info, nullptr),
            GRAFT_E_INVALID_ARGUMENT);
}

TEST(TensorDataService, MakesTensorsFromDataAndZeros) {
  const std::int64_t sizes[2] = {2, 2};
  const std::int64_t data[4] = {1, 2, 3, 4};
  graft_tensor handle = nullptr;
  const graft_tensor_data* service = tensor_data_service();
  ASSERT_EQ(service->create(service, GRAFT_INT64, sizes, 2, data, &handle, nullptr), GRAFT_OK);
  EXPECT_TRUE(at::equal(take(handle), at::arange(1, 5).reshape({2, 2})));
  ASSERT_EQ(service->create(service, GRAFT_FLOAT32, sizes, 2, nullptr, &handle, nullptr), GRAFT_OK);
  EXPECT_TRUE(at::equal(take(handle), at::zeros({2, 2})));
  Message message;
  EXPECT_EQ(service->create(service, 99, sizes, 2, nullptr, &handle, &message.error),
            GRAFT_E_INVALID_ARGUMENT);
  EXPECT_NE(message.str().find("99"), std::string::npos);
  const std::int64_t negative[1] = {-2};
  EXPECT_EQ(service->create(service, GRAFT_FLOAT32, negative, 1, nullptr, &handle, nullptr),
            GRAFT_E_INVALID_ARGUMENT);
}

// y = a * b with a backward of its own; counts how often it is dropped.
struct Product {
  int drops = 0;
  bool fails = false;
  static graft_status backward(void* user, const graft_tensor* saved, std::uint32_t,
                               const graft_tensor* grad_out, std::uint32_t, graft_tensor* grad_in,
                               std::uint32_t, graft_error* error) {
    if (static_cast<Product*>(user)->fails) {
      error->length =
          static_cast<std::uint32_t>(std::string_view("no luck").copy(error->text, error->capacity));
      return GRAFT_E_INTERNAL;
    }
    EXPECT_FALSE(c10::GradMode::is_enabled());
    grad_in[0] = give(share(grad_out[0]).mul(share(saved[1])));
    grad_in[1] = give(share(grad_out[0]).mul(share(saved[0])));
    return GRAFT_OK;
  }
  static void drop(void* user) { ++static_cast<Product*>(user)->drops; }
  graft_backward table() { return {GRAFT_HDR(graft_backward), this, backward, drop}; }

  at::Tensor operator()(const at::Tensor& a, const at::Tensor& b) {
    const graft_tensor in[2] = {lend(a), lend(b)};
    const std::int32_t old = autograd_service()->set_grad_mode(autograd_service(), 0);
    graft_tensor out = give(a.mul(b));
    autograd_service()->set_grad_mode(autograd_service(), old);
    const graft_backward backward = table();
    Message message;
    EXPECT_EQ(
        autograd_service()->attach(autograd_service(), in, 2, in, 2, &out, 1, &backward, &message.error),
        GRAFT_OK)
        << message.str();
    return take(out);
  }
};

TEST(AutogradService, RunsThePluginsBackward) {
  Product product;
  const at::Tensor a = at::randn({3}).requires_grad_(), b = at::randn({3}).requires_grad_();
  {
    const at::Tensor y = product(a.mul(2), b);
    EXPECT_TRUE(y.requires_grad());
    y.sum().backward();
  }
  EXPECT_TRUE(at::equal(a.grad(), b.detach().mul(2)));
  EXPECT_TRUE(at::equal(b.grad(), a.detach().mul(2)));
  EXPECT_EQ(product.drops, 1);
}

TEST(AutogradService, DropsAtOnceWithoutAGraph) {
  Product product;
  const at::Tensor a = at::randn({3}).requires_grad_();
  EXPECT_FALSE(product(a.detach(), a.detach()).requires_grad());
  EXPECT_EQ(product.drops, 1);
  const c10::AutoGradMode off(false);
  EXPECT_FALSE(product(a, a).requires_grad());
  EXPECT_EQ(product.drops, 2);
}

TEST(AutogradService, AFailingBackwardThrowsThePluginsText) {
  Product product;
  product.fails = true;
  const at::Tensor a = at::randn({3}).requires_grad_();
  try {
    product(a, a).sum().backward();
    FAIL() << "no exception";
  } catch (const std::exception& e) {
    EXPECT_NE(std::string(e.what()).find("no luck"), std::string::npos) << e.what();
  }
}

TEST(AutogradService, AnOutputMayBeSavedWithoutACycle) {
  struct Exponential {  // y' = y
    int drops = 0;
    static graft_status backward(void*, const graft_tensor* saved, std::uint32_t,
                                 const graft_tensor* grad_out, std::uint32_t, graft_tensor* grad_in,
                                 std::uint32_t, graft_error*) {
      grad_in[0] = give(share(saved[0]).mul(share(grad_out[0])));
      return GRAFT_OK;
    }
    static void drop(void* user) { ++static_cast<Exponential*>(user)->drops; }
  } state;
  const at::Tensor x = at::randn({3}).requires_grad_();
  {
    const graft_tensor in = lend(x);
    graft_tensor out = give(x.detach().exp());
    const graft_tensor saved = out;
    const graft_backward backward = {GRAFT_HDR(graft_backward), &state, Exponential::backward,
                                     Exponential::drop};
    ASSERT_EQ(autograd_service()->attach(autograd_service(), &in, 1, &saved, 1, &out, 1, &backward, nullptr),
              GRAFT_OK);
    const at::Tensor y = take(out);
    y.sum().backward({}, /*retain_graph=*/true);
    EXPECT_TRUE(at::equal(x.grad(), x.detach().exp()));
    EXPECT_EQ(state.drops, 0);
  }
  EXPECT_EQ(state.drops, 1);
}

TEST(AutogradService, RefusesOutputsThatCannotCarryTheNode) {
  const at::Tensor x = at::randn({3}).requires_grad_();
  const graft_tensor in = lend(x);
  Product product;
  const graft_backward backward = product.table();
  Message message;
  graft_tensor out = give(x.mul(2));
  EXPECT_EQ(
      autograd_service()->attach(autograd_service(), &in, 1, nullptr, 0, &out, 1, &backward, &message.error),
      GRAFT_E_INVALID_ARGUMENT);
  EXPECT_NE(message.str().find("grad mode off"), std::string::npos) << message.str();
  take(out);
  out = give(at::arange(3));
  EXPECT_EQ(autograd_service()->attach(autograd_service(), &in, 1, nullptr, 0, &out, 1, &backward, nullptr),
            GRAFT_E_INVALID_ARGUMENT);
  take(out);
  EXPECT_EQ(product.drops, 0);
}

}  // namespace
}  // namespace graft::model
