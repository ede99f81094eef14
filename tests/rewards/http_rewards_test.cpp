// SPDX-License-Identifier: Apache-2.0
// remote and llm_judge against servers on the loopback interface.
#include <gtest/gtest.h>
#include <httplib.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <thread>

#include "tests/rewards/reward_fixture.h"

namespace graft::rewards {
namespace {

using nlohmann::json;

// A server on a free port; its handlers are set before start().
class LoopbackServer {
 public:
  ~LoopbackServer() {
    server.stop();
    if (thread_.joinable()) thread_.join();
  }
  // "http://127.0.0.1:port"
  std::string start() {
    const int port = server.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server.listen_after_bind(); });
    while (!server.is_running()) std::this_thread::yield();  // stop() does nothing before
    return "http://127.0.0.1:" + std::to_string(port);
  }
  httplib::Server server;

 private:
  std::thread thread_;
};

class HttpRewards : public RewardFixture {
 protected:
  Scores score_texts(const RewardSpec& spec, const std::vector<std::string>& completions) {
    const RewardSet set(registry(), {spec});
    std::vector<Item> items;
    for (const std::string& completion : completions) {
      Item item;
      item.prompt = "Which?";
      item.completion = completion;
      item.solution = "red";
      items.push_back(item);
    }
    return set.score(items, 0);
  }
  Scores remote(const std::string& url, const std::vector<std::string>& completions,
                json params = json::object()) {
    params["url"] = url;
    if (!params.contains("timeout")) params["timeout"] = 30;
    return score_texts({"remote", 1.0, params}, completions);
  }
};

TEST_F(HttpRewards, RemoteSpeaksOpenRlhf) {
  LoopbackServer loopback;
  loopback.server.Post("/get_reward", [](const httplib::Request& request, httplib::Response& response) {
    const json body = json::parse(request.body);
    json rewards = json::array();
    for (std::size_t i = 0; i < body.at("query").size(); ++i) {
      const bool is_right =
          body["query"][i] == "Which?" + std::string(body["labels"][i]) && body["prompts"][i] == "Which?";
      rewards.push_back(is_right ? 2.5 : -1.0);
    }
    response.set_content(json{{"rewards", rewards}, {"scores", rewards}}.dump(), "application/json");
  });
  const std::string url = loopback.start() + "/get_reward";
  const Scores whole = remote(url, {"red", "blue", "red"});
  EXPECT_EQ(whole.values, (std::vector<std::vector<double>>{{2.5}, {-1.0}, {2.5}}));
  const Scores split = remote(url, {"red", "blue", "red"}, {{"batch_size", 2}, {"parallel", 2}});
  EXPECT_EQ(split.values, whole.values);
}

TEST_F(HttpRewards, WhatTheServerGetsWrongIsNoScore) {
  LoopbackServer loopback;
  const auto reply = [&](const char* path, const char* body) {
    loopback.server.Post(path, [body](const httplib::Request&, httplib::Response& response) {
      response.set_content(body, "application/json");
    });
  };
  reply("/short", R"({"rewards": [1]})");
  reply("/odd", R"({"rewards": [1, NaN]})");
  reply("/text", "hello");
  loopback.server.Post("/fails", [](const httplib::Request&, httplib::Response& response) {
    response.status = 503;
    response.set_content("busy", "text/plain");
  });
  const std::string url = loopback.start();
  for (const char* path : {"/short", "/text", "/fails", "/nowhere"}) {
    const Scores scores = remote(url + path, {"a", "b"});
    EXPECT_EQ(scores.statuses[0][0], Status::kError) << path;
    EXPECT_EQ(scores.statuses[1][0], Status::kError) << path;
    EXPECT_FALSE(scores.reasons[0][0].empty()) << path;
  }
  const Scores odd = remote(url + "/odd", {"a", "b"});
  EXPECT_EQ(odd.values[0][0], 1.0);
  EXPECT_EQ(odd.statuses[1][0], Status::kError);
  EXPECT_NE(remote(url + "/fails", {"a"}).reasons[0][0].find("503: busy"), std::string::npos);
}

TEST_F(HttpRewards, ABatchEndsAtItsDeadline) {
  LoopbackServer loopback;
  std::promise<void> over;
  std::shared_future<void> wait = over.get_future().share();
  loopback.server.Post("/", [wait](const httplib::Request& request, httplib::Response& response) {
    if (request.body.find("slow") != std::string::npos) wait.wait();
    response.set_content(R"({"rewards": [1]})", "application/json");
  });
  const std::string url = loopback.start();
  const auto begin = std::chrono::steady_clock::now();
  const Scores scores =
      remote(url, {"quick", "slow", "slow", "quick"}, {{"batch_size", 1}, {"parallel", 4}, {"timeout", 0.5}});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  over.set_value();
  EXPECT_EQ(scores.statuses[0][0], Status::kOk);
  EXPECT_EQ(scores.statuses[1][0], Status::kTimeout);
  EXPECT_EQ(scores.statuses[2][0], Status::kTimeout);
  EXPECT_LT(seconds.count(), 20.0);  // far below what the server would take; a busy machine is slow
}

TEST_F(HttpRewards, NoServerIsNoScore) {
  std::string url;
  {
    LoopbackServer gone;
    url = gone.start();
  }
  const Scores scores = remote(url, {"a"});
  EXPECT_EQ(scores.statuses[0][0], Status::kError);
  EXPECT_NE(scores.reasons[0][0].find("no reply"), std::string::npos) << scores.reasons[0][0];
  EXPECT_THROW(remote("localhost:5000", {"a"}), std::exception);
}

TEST_F(HttpRewards, JudgeAsksAndReadsTheGrade) {
  LoopbackServer loopback;
  std::string authorization, asked;
  loopback.server.Post(
      "/v1/chat/completions", [&](const httplib::Request& request, httplib::Response& response) {
        authorization = request.get_header_value("Authorization");
        const json body = json::parse(request.body);
        asked = body.at("messages").at(0).at("content");
        const char* grade = asked.find("blue") != std::string::npos  ? "0"
                            : asked.find("odd") != std::string::npos ? "I cannot tell"
                                                                     : "Grade: 0.75";
        response.set_content(
            json{{"choices", {{{"message", {{"role", "assistant"}, {"content", grade}}}}}}}.dump(),
            "application/json");
      });
  const std::string url = loopback.start() + "/v1";
  ::setenv("GRAFT_TEST_KEY", "secret", 1);
  const RewardSpec judge{"llm_judge",
                         1.0,
                         {{"url", url},
                          {"model", "tiny"},
                          {"api_key_variable", "GRAFT_TEST_KEY"},
                          {"parallel", 1},
                          {"timeout", 30}}};
  const Scores scores = score_texts(judge, {"<answer>blue</answer>", "odd", "<answer>red</answer>"});
  ::unsetenv("GRAFT_TEST_KEY");
  EXPECT_EQ(scores.values[0][0], 0.0);
  EXPECT_EQ(scores.statuses[1][0], Status::kError);
  EXPECT_NE(scores.reasons[1][0].find("I cannot tell"), std::string::npos);
  EXPECT_EQ(scores.values[2][0], 0.75);
  EXPECT_EQ(authorization, "Bearer secret");
  EXPECT_NE(asked.find("Question: Which?\nReference answer: red\nAnswer to grade: red\n"), std::string::npos)
      << asked;
}

}  // namespace
}  // namespace graft::rewards
