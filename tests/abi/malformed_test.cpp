// SPDX-License-Identifier: Apache-2.0
// Broken plugins: each is refused with a message that names the file, the field, what was found and what was expected,
// and this process lives on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>
#include <vector>

#include "plugin/host_services.h"
#include "plugin/library.h"
#include "support/error.h"
#include "support/files.h"

namespace graft::plugin {
namespace {

namespace fs = std::filesystem;

// The message of the refusal; "" if the library loads.
std::string refusal(const fs::path& file, std::chrono::milliseconds limit = std::chrono::seconds(60)) {
  try {
    load_library(file, host_table(), limit);
  } catch (const support::PluginError& error) {
    return error.what();
  }
  return {};
}

fs::path corpus(const std::string& name) {
  return fs::path(GRAFT_CORPUS) / (name + ".so");
}

class Scratch {
 public:
  Scratch() : path_(fs::temp_directory_path() / ("graft_abi_" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Scratch() { fs::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }

 private:
  fs::path path_;
};

struct Broken {
  std::string name;                   // of the corpus file
  std::vector<std::string> expected;  // parts of the message
};

void PrintTo(const Broken& broken, std::ostream* out) {
  *out << broken.name;
}

class MalformedPlugin : public ::testing::TestWithParam<Broken> {};

TEST_P(MalformedPlugin, IsRefusedWithAMessage) {
  const fs::path file = corpus(GetParam().name);
  ASSERT_TRUE(fs::exists(file)) << file;
  const std::string message = refusal(file);
  EXPECT_NE(message.find("plugin " + fs::canonical(file).string()), std::string::npos) << message;
  for (const std::string& part : GetParam().expected)
    EXPECT_NE(message.find(part), std::string::npos) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Corpus, MalformedPlugin,
    ::testing::Values(
        Broken{"no_entry", {"exports no function graft_plugin_manifest_v1"}},
        Broken{"entry_is_data", {"graft_plugin_manifest_v1 is data", "expected a function"}},
        Broken{"entry_of_dependency", {"comes from", "libcorpus_dependency.so"}},
        Broken{"entry_returns_null", {"returned null", "expected a manifest"}},
        Broken{"undefined_symbol", {"cannot be loaded", "no_such_function_anywhere"}},
        Broken{"wrong_magic", {"manifest.magic is 0x0000000000001234", "expected 0x47524146545f3031"}},
        Broken{"manifest_size_0", {"manifest.hdr.struct_size is 0", "expected"}},
        Broken{"manifest_size_short", {"manifest.hdr.struct_size is 80", "expected 88"}},
        Broken{"manifest_size_huge", {"manifest.hdr.struct_size is 100000000", "65536"}},
        Broken{"manifest_flags", {"manifest.hdr.flags is 4", "expected 0"}},
        Broken{"major_0", {"manifest.abi_major is 0", "expected 1"}},
        Broken{"major_2", {"manifest.abi_major is 2", "expected 1"}},
        Broken{"minor_min", {"manifest.abi_minor_min is 7", "expected at most 0", "ABI 1.7", "1.0"}},
        Broken{"tier_native", {"manifest.tier is 2", "native", "expected 1"}},
        Broken{"tier_unknown", {"manifest.tier is 3", "expected 1"}},
        Broken{"name_empty", {"manifest.name is empty"}},
        Broken{"name_not_utf8", {"manifest.name is not valid UTF-8"}},
        Broken{"init_null", {"manifest.init is null", "expected a function"}},
        Broken{"init_fails", {"init() failed", "needs a licence"}},
        Broken{"init_crashes", {"child process", "crashed (signal 11"}},
        Broken{"library_null", {"left the library null"}},
        Broken{"library_size_0", {"library.hdr.struct_size is 0"}},
        Broken{"no_components", {"library.n_components is 0", "expected 1 to"}},
        Broken{"too_many_components", {"library.n_components is 99999999"}},
        Broken{"components_null", {"library.components is null"}},
        Broken{"component_null", {"component 0 is null"}},
        Broken{"component_size_short", {"component 0.hdr.struct_size is"}},
        Broken{"component_name_bad", {"component 0.name is \"My Reward\"", "a-z 0-9"}},
        Broken{"component_name_empty", {"component 0.name is \"\""}},
        Broken{"component_twice", {"component 1 (reward corpus_two).name is used twice"}},
        Broken{"schema_not_json", {"component 0.params_schema is not JSON"}},
        Broken{"schema_not_object", {"component 0.params_schema is array", "expected a JSON object"}},
        Broken{"schema_bad_default", {"component 0.params_schema", "four"}},
        Broken{"thread_class", {"component 0.thread_class is 77", "expected 0 to 2"}},
        Broken{"reserved", {"component 0.reserved is 1", "expected 0"}},
        Broken{"create_null", {"component 0.create is null"}},
        Broken{"destroy_null", {"component 0.destroy is null"}},
        Broken{"get_interface_null", {"component 0.get_interface is null"}},
        Broken{"wrong_kind", {"component 0 (peft corpus_one).get_interface returned null", "graft.peft/1"}},
        Broken{"vtable_size_short", {"graft.reward/1.hdr.struct_size is 16", "expected 24"}},
        Broken{"slot_null", {"graft.reward/1: score is null"}},
        Broken{"constructor_aborts", {"while being loaded in a child process", "crashed (signal 6"}},
        Broken{"constructor_crashes", {"while being loaded in a child process", "crashed (signal 11"}},
        Broken{"constructor_exits", {"ended the process with exit code 0"}}),
    [](const auto& instance) { return instance.param.name; });

TEST(Malformed, AConstructorThatHangsIsGivenUp) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string message = refusal(corpus("constructor_hangs"), std::chrono::milliseconds(300));
  EXPECT_NE(message.find("did not finish loading"), std::string::npos) << message;
  EXPECT_NE(message.find("GRAFT_PLUGIN_LOAD_SECONDS"), std::string::npos) << message;
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(Malformed, AFileThatIsNoLibraryIsRefused) {
  const Scratch scratch;
  const std::string good = support::read_file(corpus("good"));
  EXPECT_NE(refusal(scratch.write("text.so", "#!/bin/sh\n")).find("cannot be loaded"), std::string::npos);
  EXPECT_NE(refusal(scratch.write("empty.so", "")).find("cannot be loaded"), std::string::npos);
  for (const std::size_t permille : {5U, 50U, 100U, 200U, 300U}) {
    const fs::path file = scratch.write("cut" + std::to_string(permille) + ".so",
                                        good.substr(0, good.size() * permille / 1000));
    // The code itself is cut here; debugging information lies behind it. The loader notices, or the process faults.
    EXPECT_NE(refusal(file).find("plugin "), std::string::npos) << permille;
  }
  std::string other_machine = good;
  other_machine[18] = '\x16';  // e_machine: S390
  EXPECT_NE(refusal(scratch.write("other_machine.so", other_machine)).find("cannot be loaded"),
            std::string::npos);
}

TEST(Malformed, APathThatIsNoFileIsRefused) {
  EXPECT_NE(refusal("no/such/plugin.so").find("cannot be opened"), std::string::npos);
  EXPECT_NE(refusal(GRAFT_CORPUS).find("is not a regular file"), std::string::npos);
}

TEST(Malformed, TheRunningProgramIsNoPlugin) {
  EXPECT_NE(refusal("/proc/self/exe").find("is the running program"), std::string::npos);
}

}  // namespace
}  // namespace graft::plugin
