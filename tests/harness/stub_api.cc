// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/stub_api.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "userspace/base/clock.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::harness {
namespace {

bool Send(int fd, const std::string& text) {
  return send(fd, text.data(), text.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(text.size());
}

bool SendJson(int fd, int status, const std::string& body) {
  return Send(fd, StrCat("HTTP/1.1 ", status, " X\r\nContent-Type: "
                         "application/json\r\nContent-Length: ",
                         body.size(), "\r\n\r\n", body));
}

std::string Chunk(const std::string& body) {
  return absl::StrCat(absl::Hex(body.size()), "\r\n", body, "\r\n");
}

// Of the kinds that an agent watches.
std::string TypeMeta(const std::string& resource) {
  if (resource == "servicecidrs") {
    return R"("kind":"ServiceCIDR","apiVersion":"networking.k8s.io/v1",)";
  }
  if (resource == "endpointslices") {
    return R"("kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1",)";
  }
  return StrCat(R"("kind":")", resource == "nodes" ? "Node" : "Service",
                R"(","apiVersion":"v1",)");
}

// The number behind `key` in a query.
uint64_t Number(const std::string& text, const std::string& key) {
  size_t at = text.find(key);
  return at == text.npos ? 0 : strtoull(text.c_str() + at + key.size(),
                                        nullptr, 10);
}

}  // namespace

StubApi::StubApi(const NetnsScope* netns) : netns_(netns) {}
StubApi::~StubApi() { Stop(); }

absl::Status StubApi::Start() {
  FL_RETURN_IF_ERROR(netns_->Run([this]() -> absl::Status {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int yes = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(8001);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address),
             sizeof address) < 0 ||
        listen(listener_.get(), 16) < 0) {
      return ErrnoStatus(errno, "listen", "stub API");
    }
    return absl::OkStatus();
  }));
  running_ = true;
  threads_.emplace_back([this, fd = listener_.get()] { Accept(fd); });
  return absl::OkStatus();
}

void StubApi::Stop() {
  std::vector<std::thread> threads;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    running_ = false;
    if (listener_.valid()) shutdown(listener_.get(), SHUT_RDWR);
    for (int fd : open_) shutdown(fd, SHUT_RDWR);
    changed_.notify_all();
  }
  // The acceptor adds threads until it ends; it is the first.
  if (!threads_.empty()) threads_.front().join();
  threads = std::move(threads_);
  threads_.clear();
  for (size_t i = 1; i < threads.size(); ++i) threads[i].join();
  listener_.reset();
}

void StubApi::Put(const std::string& resource, const std::string& name,
                  const std::string& labels, const std::string& rest) {
  PutWhole(resource, name, [&](uint64_t version) {
    return StrCat("{", TypeMeta(resource), R"("metadata":{"name":")", name,
                  R"(","namespace":"default","uid":"u-)", name,
                  R"(","resourceVersion":")", version, R"(","labels":{)",
                  labels, "}},", rest, "}");
  });
}

void StubApi::PutWhole(
    const std::string& resource, const std::string& name,
    const std::function<std::string(uint64_t version)>& object) {
  std::lock_guard<std::mutex> lock(mutex_);
  ++version_;
  std::string json = object(version_);
  std::string added = Frame("ADDED", json);
  Object& place = objects_[resource][name];
  events_.push_back({version_, resource,
                     place.json.empty() ? added : Frame("MODIFIED", json)});
  place = {std::move(json), std::move(added)};
  changed_.notify_all();
}

void StubApi::Delete(const std::string& resource, const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  ++version_;
  objects_[resource].erase(name);
  events_.push_back(
      {version_, resource,
       Frame("DELETED",
             StrCat("{", TypeMeta(resource), R"("metadata":{"name":")", name,
                    R"(","namespace":"default","resourceVersion":")",
                    version_, "\"}}"))});
  changed_.notify_all();
}

uint64_t StubApi::SendEvent(
    const std::string& resource,
    const std::function<std::string(uint64_t version)>& frame) {
  std::lock_guard<std::mutex> lock(mutex_);
  ++version_;
  events_.push_back({version_, resource, frame(version_)});
  changed_.notify_all();
  return version_;
}

std::optional<absl::Duration> StubApi::first_byte() {
  std::lock_guard<std::mutex> lock(mutex_);
  return first_byte_;
}

void StubApi::ForgetFirstByte() {
  std::lock_guard<std::mutex> lock(mutex_);
  first_byte_.reset();
}

std::vector<std::string> StubApi::Created() {
  std::lock_guard<std::mutex> lock(mutex_);
  return created_;
}

std::vector<std::string> StubApi::Requests() {
  std::lock_guard<std::mutex> lock(mutex_);
  return requests_;
}

std::string StubApi::LastHead() {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_head_;
}

void StubApi::Refuse(const std::string& resource, int status) {
  std::lock_guard<std::mutex> lock(mutex_);
  refused_[resource] = status;
}

int StubApi::Refusal(const std::string& resource) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = refused_.find(resource);
  return it == refused_.end() ? 0 : it->second;
}

void StubApi::Accept(int listener) {
  for (;;) {
    int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    // As API servers do: an event doesn't wait for the last one's ACK.
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    std::lock_guard<std::mutex> lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { Connection(fd); });
  }
}

void StubApi::Connection(int fd) {
  std::string input;
  char buffer[8192];
  for (;;) {
    size_t end = input.find("\r\n\r\n");
    if (end != input.npos) {
      std::string head = input.substr(0, end + 4);
      size_t length = Number(head, "Content-Length: ");
      if (input.size() >= head.size() + length) {
        std::string body = input.substr(head.size(), length);
        input.erase(0, head.size() + length);
        if (!Answer(fd, head, body)) break;
        continue;
      }
    }
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n <= 0) break;
    input.append(buffer, n);
  }
  std::lock_guard<std::mutex> lock(mutex_);
  open_.remove(fd);
  close(fd);
}

bool StubApi::Answer(int fd, const std::string& head,
                     const std::string& body) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    requests_.push_back(head.substr(0, head.find(" HTTP/")));
    last_head_ = head;
  }
  if (head.compare(0, 3, "GET") != 0) {
    if (!serves_events_group_ &&
        head.find(" /apis/events.k8s.io/") != head.npos) {
      return SendJson(fd, 404, R"({"kind":"Status","code":404})");
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      created_.push_back(body);
    }
    return SendJson(fd, 201, body);
  }
  size_t begin = head.find(' ') + 1;
  std::string target = head.substr(begin, head.find(' ', begin) - begin);
  std::string path = target.substr(0, target.find('?'));
  std::string resource = path.substr(path.rfind('/') + 1);
  if (const int status = Refusal(resource); status != 0) {
    return SendJson(fd, status, StrCat(R"({"kind":"Status","code":)", status,
                                       "}"));
  }
  if (target.find("watch=true") != target.npos) {
    const bool from_list =
        target.find("sendInitialEvents=true") != target.npos;
    if (from_list && !streams_lists_) {
      return SendJson(fd, 422, R"({"kind":"Status","code":422})");
    }
    return Watch(fd, resource, Number(target, "&resourceVersion="), from_list);
  }
  std::string list;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!first_byte_) first_byte_ = Clock::Real().Monotonic();
    list = StrCat(R"({"kind":"List","metadata":{"resourceVersion":")",
                  version_, R"("},"items":[)");
    for (const auto& [name, object] : objects_[resource]) {
      if (list.back() != '[') list += ",";
      list += object.json;
    }
  }
  return SendJson(fd, 200, list + "]}");
}

std::string StubApi::Frame(std::string_view type,
                           const std::string& object) const {
  if (encoder_) return encoder_(type, object);
  return StrCat(R"({"type":")", type, R"(","object":)", object, "}\n");
}

std::string StubApi::InitialEvents(const std::string& resource) const {
  std::string frames;
  if (auto it = objects_.find(resource); it != objects_.end()) {
    for (const auto& [name, object] : it->second) {
      frames += Chunk(object.frame);
    }
  }
  return frames +
         Chunk(Frame("BOOKMARK",
                     StrCat("{", TypeMeta(resource),
                            R"("metadata":{"resourceVersion":")", version_,
                            R"(","annotations":{"k8s.io/initial-events-end":)",
                            R"("true"}}})")));
}

bool StubApi::Watch(int fd, const std::string& resource, uint64_t version,
                    bool from_list) {
  const char* type = encoder_ ? "vnd.kubernetes.protobuf;stream=watch" : "json";
  if (!Send(fd, StrCat("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n",
                       "Content-Type: application/", type, "\r\n\r\n"))) {
    return false;
  }
  std::unique_lock<std::mutex> lock(mutex_);
  if (from_list) {
    version = version_;
    const std::string frames = InitialEvents(resource);
    if (!first_byte_) first_byte_ = Clock::Real().Monotonic();
    // The client may be slow: others are served meanwhile.
    lock.unlock();
    if (!Send(fd, frames)) return false;
    lock.lock();
  }
  size_t next = 0;
  while (running_) {
    for (; next < events_.size(); ++next) {
      const Event& event = events_[next];
      if (event.resource != resource || event.version <= version) continue;
      if (!Send(fd, Chunk(event.frame))) return false;
    }
    changed_.wait(lock);
  }
  return false;
}

}  // namespace fairlead::harness
