// SPDX-License-Identifier: Apache-2.0
// Chat templates as people bring them: what a template writes is written, its default system message included, or the template is
// refused; never another text. tests/embed/template_live.py checks the same against transformers.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>

#include "support/error.h"
#include "support/files.h"
#include "support/strings.h"
#include "tests/parity/golden.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

namespace graft::parity {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// ---- templates --------------------------------------------------------------------------------------------

// ChatML as most fine-tuned checkpoints write it, with what stands before a message and how a message is written.
std::string chatml(
    const std::string& before = "",
    const std::string& message =
        "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}",
    const std::string& generation = "{{ '<|im_start|>assistant\\n' }}") {
  return "{% for message in messages %}" + before + message + "{% endfor %}{% if add_generation_prompt %}" +
         generation + "{% endif %}";
}

std::string default_system(const std::string& literal) {
  return "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" + literal +
         "<|im_end|>\\n' }}{% endif %}";
}

// The fixture's own, which is the published one in other words.
std::string template_of(const std::string& family) {
  const fs::path file = Fixture(family).directory() / "tokenizer_config.json";
  return json::parse(support::read_file(file)).at("chat_template");
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

// ---- what becomes of them ---------------------------------------------------------------------------------

std::unique_ptr<model::Model> open_with(const std::string& family, const test::TemporaryDirectory& directory,
                                        const std::function<void(json&)>& change) {
  const fs::path source = Fixture(family).directory();
  for (const char* name : {"tokenizer.json", "config.json", "preprocessor_config.json"}) {
    if (fs::exists(source / name)) fs::copy_file(source / name, directory / name);
  }
  json config = json::parse(support::read_file(source / "tokenizer_config.json"));
  change(config);
  std::ofstream(directory / "tokenizer_config.json") << config;
  model::OpenOptions options;
  options.directory = directory.path();
  options.random_init = true;
  return model::Model::open(tiny_registry(), options);
}

// A question under a template: the prompt, or "refused: " and the message.
std::string prompt_of(const std::string& family, const std::string& chat_template,
                      const std::vector<model::Message>& messages = {{"user", " hi ", 0}}) {
  const test::TemporaryDirectory directory;
  try {
    return open_with(family, directory, [&](json& config) { config["chat_template"] = chat_template; })
        ->render(messages, true);
  } catch (const support::UserError& error) {
    return support::cat("refused: ", error.what());
  }
}

const std::string kTurn = "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n";

std::string with_system(const std::string& text) {
  return "<|im_start|>system\n" + text + "<|im_end|>\n" + kTurn;
}

struct Case {
  const char* what;
  std::string family, chat_template,
      expected;  // expected: the prompt, or words of a refusal after "refused: "
};

std::vector<Case> followed() {
  const std::string qwen2 = template_of("qwen2"), vl = template_of("qwen2_5_vl");
  return {
      {"no default system message", "qwen2", chatml(), kTurn},
      {"a default one", "qwen2", chatml(default_system("You are Q.")), with_system("You are Q.")},
      {"one with escapes", "qwen2", chatml(default_system("In \\\\boxed{}.\\nIt\\'s \\\"so\\\".")),
       with_system("In \\boxed{}.\nIt's \"so\".")},
      {"one in Chinese", "qwen3", chatml(default_system("你是助手。")), with_system("你是助手。")},
      {"the flag set where it is missing", "qwen2",
       "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}" +
           chatml(),
       kTurn},
      {"a comment and other white space within tags", "qwen2",
       "{# ChatML #}" + replaced(chatml(), "{% for message in messages %}", "{%for  message in\nmessages%}"),
       kTurn},
      {"other quotes", "qwen2", replaced(chatml(), "message['role']", "message[\"role\"]"), kTurn},
      {"line breaks that Jinja drops", "qwen2", replaced(chatml(), "{% endfor %}", "{% endfor %}\n"), kTurn},
      {"Windows line breaks", "qwen2", replaced(qwen2, "-%}\n", "-%}\r\n"),
       with_system("You are a careful assistant.")},
      {"a line break at the end", "qwen2", chatml() + "\n", kTurn},
      {"ChatML under Llama's architecture", "llama", chatml(), kTurn},
      {"another system message in a published template", "qwen2_5_vl",
       replaced(vl, "You are a helpful assistant.", "You find boxes."), with_system("You find boxes.")},
  };
}

std::vector<Case> refused() {
  const std::string qwen2 = template_of("qwen2"), qwen3 = template_of("qwen3"), llama = template_of("llama"),
                    vl = template_of("qwen2_5_vl"), qwen3_vl = template_of("qwen3_vl");
  const auto message = [](const std::string& content) {
    return chatml("",
                  "{{'<|im_start|>' + message['role'] + '\\n' + " + content + " + '<|im_end|>' + '\\n'}}");
  };
  return {
      {"trimmed contents", "qwen2", message("message['content'] | trim"), "trimmed contents"},
      {"stripped contents", "qwen2", message("message['content'].strip()"), "trimmed contents"},
      {"changed contents", "qwen2", message("message['content'] | upper"), "ChatML"},
      {"other role names", "qwen2",
       chatml("",
              "{{'<|im_start|>' + ('human' if message['role'] == 'user' else 'bot') + '\\n' + "
              "message['content'] + '<|im_end|>' + '\\n'}}"),
       "ChatML"},
      {"no line break behind a message", "qwen2",
       replaced(chatml(), " + '<|im_end|>' + '\\n'", " + '<|im_end|>'"), "ChatML"},
      {"a line break that stays", "qwen2",
       replaced(chatml(), "'<|im_end|>' + '\\n'}}", "'<|im_end|>' + '\\n'}}\n"), "ChatML"},
      {"a text before all", "qwen2", "Chat:" + chatml(), "ChatML"},
      {"a beginning token", "qwen2", "{{ bos_token }}" + chatml(), "ChatML"},
      {"a date in the system message", "qwen2",
       chatml("{% if loop.first %}{{ '<|im_start|>system\\nToday: ' + strftime_now('%d %b %Y') + "
              "'<|im_end|>\\n' "
              "}}{% endif %}"),
       "the date of the day"},
      {"a system message before the user's own", "qwen2",
       replaced(qwen2, "loop.first and message['role'] != 'system'", "loop.first"), "ChatML"},
      {"a system message that is built", "qwen2",
       chatml("{% if loop.first %}{{ '<|im_start|>system\\n' + 'You are ' + 'Q.' + '<|im_end|>\\n' }}{% "
              "endif %}"),
       "ChatML"},
      {"two default system messages", "qwen2",
       chatml(default_system("One.") + replaced(default_system("Two."), "!=", "==")), "ChatML"},
      {"tools by default", "qwen2", "{% set tools = tools or [] %}" + chatml(), "tools"},
      {"another generation prompt", "qwen2",
       chatml("", "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}",
              "{{ '<|im_start|>assistant\\n<think>\\n' }}"),
       "ChatML"},
      {"a generation prompt without a switch", "qwen2",
       replaced(qwen2, "{%- if add_generation_prompt -%}", "{%- if true -%}"), "ChatML"},
      {"conditions on conversations", "qwen2",
       chatml("{% if loop.index > 2 %}{{ raise_exception('no') }}{% endif %}"),
       "conditions on conversations"},
      {"reasoning that is kept", "qwen3",
       replaced(qwen3, "content.split('</think>')[-1].lstrip('\\n')", "content"), "ChatML"},
      {"dates in another form", "llama", replaced(llama, "December 2023", "March 2024"), "Llama 3"},
      {"contents that are not trimmed", "llama",
       replaced(llama, "message['content'] | trim", "message['content']"), "Llama 3"},
      {"Llama 2's markers", "llama", "{{ '[INST] ' + messages[0]['content'] + ' [/INST]' }}", "Llama 2's"},
      {"Gemma's markers", "llama", "{{ '<start_of_turn>user\\n' + messages[0]['content'] }}", "Gemma's"},
      {"Zephyr's markers", "llama", "{{ '<|user|>\\n' + messages[0]['content'] }}", "Zephyr"},
      {"other image markers", "qwen2_5_vl", replaced(vl, "_pad|><|vision_end|>", "_pad|>"), "ChatML"},
      {"numbered images", "qwen2_5_vl", replaced(vl, "{%- if add_vision_id %}", "{%- if true %}"), "ChatML"},
      {"a template of text in a family of images", "qwen2_5_vl", chatml(), "ChatML"},
      {"a trimmed part", "qwen3_vl", replaced(qwen3_vl, "part['text']", "part['text'] | trim"), "ChatML"},
      {"what is no Jinja", "qwen2", "{{ '<|im_start|>", "ChatML"},
      {"an escape that is not read", "qwen2", replaced(chatml(), "'<|im_end|>'", "'\\x3c|im_end|>'"),
       "ChatML"},
  };
}

TEST(ChatTemplates, ThoseThatAreRecognisedAreFollowed) {
  for (const Case& test : followed()) {
    EXPECT_EQ(prompt_of(test.family, test.chat_template), test.expected) << test.what;
  }
}

TEST(ChatTemplates, AllOthersAreRefused) {
  for (const Case& test : refused()) {
    const std::string found = prompt_of(test.family, test.chat_template);
    EXPECT_TRUE(found.starts_with("refused: ")) << test.what << ": " << found;
    for (const std::string& word :
         {std::string("tokenizer_config.json: the chat template"), test.expected,
          std::string("published template"), std::string("the family's own format")}) {
      EXPECT_TRUE(test::contains(found, word)) << test.what << ": " << found;
    }
  }
}

TEST(ChatTemplates, TheFileThatHoldsTheTemplateIsNamed) {
  const test::TemporaryDirectory directory;
  directory.write("chat_template.jinja", "[INST] {{ messages[0].content }} [/INST]");
  const std::string message = test::message_of<support::UserError>(
      [&] { static_cast<void>(open_with("qwen2", directory, [](json&) {})); });
  EXPECT_TRUE(test::contains(message, (directory / "chat_template.jinja").string()));
}

TEST(ChatTemplates, WithoutOneTheFamilysOwnFormatIsWritten) {
  const auto own = [](const std::string& family) {
    const test::TemporaryDirectory directory;
    return open_with(family, directory, [](json& config) { config.erase("chat_template"); })
        ->render({{"user", " hi ", 0}}, true);
  };
  EXPECT_EQ(own("qwen2"), with_system("You are a helpful assistant."));
  EXPECT_EQ(own("qwen3"), kTurn);
  EXPECT_EQ(own("qwen2_5_vl"), with_system("You are a helpful assistant."));
  EXPECT_EQ(own("qwen3_vl"), kTurn);
}

TEST(ChatTemplates, LlamasContentsAreStrippedAsPythonDoes) {
  const std::string prompt =
      prompt_of("llama", template_of("llama"), {{"user", "\u3000\u00a0\t hi there\u2003\n\x1f", 0}});
  EXPECT_TRUE(test::contains(prompt, "<|start_header_id|>user<|end_header_id|>\n\nhi there<|eot_id|>"));
}

}  // namespace
}  // namespace graft::parity
