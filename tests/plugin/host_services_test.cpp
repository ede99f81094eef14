// SPDX-License-Identifier: Apache-2.0
#include "plugin/host_services.h"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "support/error.h"
#include "support/interrupt.h"

namespace graft::plugin {
namespace {

TEST(HostServices, TheTableIsCompleteAndNamesTheProgram) {
  const graft_host* host = host_table();
  EXPECT_EQ(host->hdr.struct_size, sizeof(graft_host));
  EXPECT_EQ(host->abi_major, GRAFT_ABI_MAJOR);
  EXPECT_EQ(view(host->name), "graft");
  EXPECT_TRUE(GRAFT_HAS(host, graft_host, get_service));
  EXPECT_TRUE(GRAFT_HAS(host, graft_host, log));
  EXPECT_TRUE(GRAFT_HAS(host, graft_host, is_cancelled));
}

TEST(HostServices, AnUnknownServiceIsNull) {
  const graft_host* host = host_table();
  for (const std::string_view id : {"", "graft.rng", "graft.rng/2", "graft.rng/1garbage"}) {
    EXPECT_EQ(host->get_service(host, view(id)), nullptr) << id;
  }
  EXPECT_NE(host->get_service(host, view(std::string_view(GRAFT_SERVICE_RNG))), nullptr);
}

TEST(HostServices, ARegisteredServiceIsFound) {
  static const int table = 1;
  register_service("test.service/1", &table);
  const graft_host* host = host_table();
  EXPECT_EQ(host->get_service(host, view(std::string_view("test.service/1"))), &table);
}

TEST(HostServices, CancellationFollowsTheInterrupt) {
  const graft_host* host = host_table();
  EXPECT_EQ(host->is_cancelled(host), 0);
  support::request_interrupt();
  EXPECT_EQ(host->is_cancelled(host), 1);
  support::clear_interrupt();
}

std::vector<std::uint64_t> draw(std::string_view stream, std::uint64_t counter, std::size_t n) {
  const graft_host* host = host_table();
  const auto* rng =
      static_cast<const graft_rng*>(host->get_service(host, view(std::string_view(GRAFT_SERVICE_RNG))));
  std::vector<std::uint64_t> out(n);
  rng->bits(rng, view(stream), counter, out.data(), n);
  return out;
}

TEST(HostServices, RandomNumbersDependOnSeedStreamAndCounterAlone) {
  set_run_seed(5);
  const std::vector<std::uint64_t> all = draw("dropout", 10, 6);
  // However a caller cuts its requests, and whatever was drawn before.
  EXPECT_EQ(draw("dropout", 12, 1)[0], all[2]);
  EXPECT_EQ(draw("dropout", 10, 6), all);
  EXPECT_NE(draw("noise", 10, 6), all);
  set_run_seed(6);
  EXPECT_NE(draw("dropout", 10, 6), all);
  set_run_seed(0);
}

TEST(Call, AStatusBecomesTheExceptionOfItsKind) {
  const auto failing = [](graft_status status, const char* text) {
    return [=](graft_error* error) { return fail(error, status, text); };
  };
  EXPECT_NO_THROW(call("x", [](graft_error*) { return GRAFT_OK; }));
  EXPECT_THROW(call("x", failing(GRAFT_E_CANCELLED, "")), support::Interrupted);
  EXPECT_THROW(call("x", failing(GRAFT_E_OUT_OF_MEMORY, "")), support::MemoryError);
  EXPECT_THROW(call("x", failing(GRAFT_E_INTERNAL, "")), support::PluginError);
  EXPECT_THROW(call("x", failing(-999, "")), support::PluginError);
  EXPECT_THROW(call("x", failing(17, "")), support::PluginError);
  try {
    call("reward iou", failing(GRAFT_E_INVALID_ARGUMENT, "no box"));
    FAIL();
  } catch (const support::PluginError& error) {
    EXPECT_STREQ(error.what(), "reward iou: no box");
  }
  try {
    call("reward iou", [](graft_error*) { return GRAFT_E_INTERNAL; });
    FAIL();
  } catch (const support::PluginError& error) {
    EXPECT_STREQ(error.what(), "reward iou: failed with status -5 and no message");
  }
}

TEST(Fail, WritesATerminatedMessageThatFits) {
  std::array<char, 8> text;
  text.fill('#');
  graft_error error{text.data(), 6, 0};
  EXPECT_EQ(fail(&error, GRAFT_E_INTERNAL, "abcdefgh"), GRAFT_E_INTERNAL);
  EXPECT_EQ(std::string(text.data()), "abcde");
  EXPECT_EQ(error.length, 5U);
  EXPECT_EQ(text[6], '#');
  // A character is not cut in two.
  fail(&error, GRAFT_E_INTERNAL, "abcd\xc3\xa9");
  EXPECT_EQ(std::string(text.data()), "abcd");
  EXPECT_EQ(fail(nullptr, GRAFT_E_UNSUPPORTED, "abc"), GRAFT_E_UNSUPPORTED);
  graft_error none{nullptr, 0, 0};
  EXPECT_EQ(fail(&none, GRAFT_E_UNSUPPORTED, "abc"), GRAFT_E_UNSUPPORTED);
}

TEST(StringSink, JoinsThePieces) {
  std::string out;
  const graft_sink sink = string_sink(out);
  sink.write(sink.context, view(std::string_view("ab")));
  sink.write(sink.context, graft_str{nullptr, 0});
  sink.write(sink.context, view(std::string_view("c\0d", 3)));
  EXPECT_EQ(out, std::string("abc\0d", 5));
}

}  // namespace
}  // namespace graft::plugin
