// SPDX-License-Identifier: Apache-2.0
// Requests of a reward to a server, several at a time, all done by a deadline.
#pragma once

#include <httplib.h>
#include <graft/sdk/plugin.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace rewards {

struct Reply {
  enum class State { kOk, kFailed, kTimeout } state = State::kTimeout;
  std::string text;  // the body, or why there is none
};

// "http://host:port/base/path": what comes before the path, and the path without a slash at its end.
struct Address {
  std::string server, path;
  static Address parse(const std::string& url) {
    const std::size_t scheme = url.find("://");
    const bool known = url.rfind("http://", 0) == 0 || url.rfind("https://", 0) == 0;
    if (!known || scheme + 3 >= url.size())
      throw graft::Error("\"url\" is \"" + url + "\", expected http://host:port/path or https://…");
    const std::size_t slash = url.find('/', scheme + 3);
    Address address{url.substr(0, slash), slash == std::string::npos ? "" : url.substr(slash)};
    while (!address.path.empty() && address.path.back() == '/') address.path.pop_back();
    return address;
  }
};

// Posts JSON bodies to one path. A reply of another status than 200, of more than 16 MiB, or a failed connection is kFailed.
class Poster {
 public:
  Poster(Address address, std::vector<std::pair<std::string, std::string>> headers, double seconds,
         std::size_t parallel)
      : address_(std::move(address)),
        headers_(headers.begin(), headers.end()),
        seconds_(seconds),
        parallel_(parallel) {}

  // One reply for each body, in order. Returns when all are there, when the time is up, or when the run is stopped: then the
  // connections that are open are closed, and what has no reply stays kTimeout.
  std::vector<Reply> post(const std::vector<std::string>& bodies) const {
    State state;
    state.replies.resize(bodies.size());
    const std::size_t n = std::min(parallel_, bodies.size());
    for (std::size_t i = 0; i < n; ++i) state.clients.push_back(make_client());
    state.left = n;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds_);
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < n; ++i)
      threads.emplace_back([&, i] { work(state, bodies, *state.clients[i]); });
    std::unique_lock<std::mutex> lock(state.mutex);
    while (state.left > 0) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline || graft::host().is_cancelled()) {
        state.is_over = true;
        for (const auto& client : state.clients) client->stop();
      }
      // Woken by the last thread; in between only to look whether the run is being stopped.
      state.done.wait_for(lock, std::chrono::milliseconds(50));
    }
    lock.unlock();
    for (std::thread& thread : threads) thread.join();
    return std::move(state.replies);
  }

 private:
  struct State {
    std::vector<Reply> replies;
    std::vector<std::unique_ptr<httplib::Client>> clients;
    std::mutex mutex;
    std::condition_variable done;
    std::size_t left = 0;  // threads
    std::atomic<std::size_t> next{0};
    std::atomic<bool> is_over{false};
  };

  std::unique_ptr<httplib::Client> make_client() const {
    auto client = std::make_unique<httplib::Client>(address_.server);
    if (!client->is_valid())
      throw graft::Error("\"url\": no connection can be made to \"" + address_.server + "\"");
    const auto whole = static_cast<time_t>(seconds_);
    const auto rest = static_cast<time_t>((seconds_ - static_cast<double>(whole)) * 1e6);
    client->set_connection_timeout(std::min<time_t>(whole, 5),
                                   whole < 5 ? rest : 0);  // cannot be interrupted
    client->set_read_timeout(whole + 5, rest);             // post() closes connections at the deadline
    client->set_write_timeout(whole + 5, rest);
    client->set_keep_alive(true);
    return client;
  }

  void work(State& state, const std::vector<std::string>& bodies, httplib::Client& client) const {
    for (std::size_t i = state.next++; i < bodies.size() && !state.is_over; i = state.next++) {
      Reply reply = request(state, bodies[i], client);
      if (!state.is_over || reply.state == Reply::State::kOk) state.replies[i] = std::move(reply);
    }
    const std::lock_guard<std::mutex> lock(state.mutex);
    if (--state.left == 0) state.done.notify_one();
  }

  Reply request(const State& state, const std::string& body, httplib::Client& client) const {
    constexpr std::size_t kMostBytes = std::size_t{16} << 20;
    httplib::Request request;
    request.method = "POST";
    request.path = address_.path.empty() ? "/" : address_.path;
    request.headers = headers_;
    request.set_header("Content-Type", "application/json");
    request.body = body;
    std::string text;
    request.content_receiver = [&](const char* data, std::size_t size, std::uint64_t, std::uint64_t) {
      if (state.is_over || text.size() + size > kMostBytes) return false;
      text.append(data, size);
      return true;
    };
    try {
      const httplib::Result result = client.send(request);
      if (!result)
        return {Reply::State::kFailed, "no reply from the server: " + httplib::to_string(result.error())};
      if (result->status != 200)
        return {Reply::State::kFailed,
                "the server replied " + std::to_string(result->status) + ": " + text.substr(0, 200)};
      return {Reply::State::kOk, std::move(text)};
    } catch (const std::exception& error) {
      return {Reply::State::kFailed, error.what()};
    }
  }

  Address address_;
  httplib::Headers headers_;
  double seconds_;
  std::size_t parallel_;
};

}  // namespace rewards
