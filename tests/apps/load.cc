// SPDX-License-Identifier: Apache-2.0
// fairlead-load: a client at a constant rate. It counts answers per pod and
// failures per reason, and prints one JSON object at the end.
//
// Open loop: request i is due at start + i / rate, whether or not earlier ones
// were answered; so an outage shows as failures and not as a lower rate.
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/apps/sockets.h"

namespace fairlead::apps {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Ms = std::chrono::duration<double, std::milli>;

constexpr char kUsage[] =
    R"(Usage: fairlead-load --target ADDRESS:PORT [options]

Sends requests to a fairlead-echo at a constant rate, each over a new
connection, and prints one JSON object with answers per pod, failures per
reason and latency. SIGTERM or SIGINT end it early, with the same output. Times
are milliseconds since started_unix_ms; a failure's is when its request began.

  --target A:P       10.96.0.10:80, [fd00::10]:80
  --protocol P       http (default), tcp, udp
  --rate N           requests per second (default 50; 0: as fast as possible)
  --duration TIME    "10s", "500ms"; 0 until a signal (default 5s)
  --count N          end after N requests
  --timeout TIME     for one request, connecting included (default 2s)
  --path PATH        for http (default /)
  --workers N        threads, that is requests under way at most (default 64;
                     1 with --persistent)
  --persistent       each worker keeps one connection for all its requests
  --bind ADDRESS     send from this address
  --fail-on-error    exit 1 if any request failed or none was answered

Example: fairlead-load --target 10.96.0.10:80 --rate 200 --duration 30s \
           --fail-on-error
)";

struct Options {
  SocketAddress target;
  std::optional<SocketAddress> bind;
  std::string protocol = "http", path = "/";
  double rate = 50;
  Ms duration{5000}, timeout{2000};
  int64_t count = -1;
  int workers = 0;
  bool persistent = false, fail_on_error = false, has_target = false;
};

struct PodCount {
  int64_t count = 0;
  double first_ms = 0, last_ms = 0;
};

struct Failure {
  double at_ms = 0;
  std::string reason;
};

struct Load {
  Options options;
  SteadyClock::time_point start;
  std::atomic<int64_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;  // all below
  std::map<std::string, PodCount> pods;
  std::map<std::string, int64_t> errors;
  std::vector<Failure> first_failures;
  std::vector<float> latency_ms;
  int64_t sent = 0, failed = 0, late = 0;
  double last_failure_ms = 0;  // when it was begun
};

[[noreturn]] void Die(const std::string& what) {
  fprintf(stderr, "fairlead-load: %s\n", what.c_str());
  exit(2);
}

class Connection {
 public:
  explicit Connection(const Options& options) : options_(options) {}
  ~Connection() { Close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  // One request; the answering pod's name, or "!reason".
  std::string Ask() {
    deadline_ = SteadyClock::now() +
                std::chrono::duration_cast<SteadyClock::duration>(
                    options_.timeout);
    if (fd_ < 0) {
      if (std::string error = Open(); !error.empty()) return "!" + error;
    }
    if (options_.protocol == "http") return AskHttp();
    static constexpr char kLine[] = "hello\n";
    if (send(fd_, kLine, sizeof(kLine) - 1, MSG_NOSIGNAL) < 0)
      return Errno("send");
    std::string line;
    while (line.find('\n') == std::string::npos) {
      if (std::string error = Receive(&line); !error.empty())
        return "!" + error;
    }
    return line.substr(0, line.find(' '));
  }

 private:
  std::string Open() {
    const bool udp = options_.protocol == "udp";
    fd_ = socket(options_.target.storage.ss_family,
                 (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK |
                     SOCK_CLOEXEC, 0);
    if (fd_ < 0) return Errno("socket").substr(1);
    const int on = 1;
    if (!udp) setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (options_.bind &&
        bind(fd_, options_.bind->get(), options_.bind->size) != 0)
      return Errno("bind").substr(1);
    if (connect(fd_, options_.target.get(), options_.target.size) == 0)
      return "";
    if (errno != EINPROGRESS) return Errno("connect").substr(1);
    if (!Wait(POLLOUT)) return "connect: timeout";
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    errno = error;
    return error == 0 ? "" : Errno("connect").substr(1);
  }

  bool Wait(short events) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        deadline_ - SteadyClock::now());
    pollfd ready{.fd = fd_, .events = events, .revents = 0};
    return left.count() > 0 &&
           poll(&ready, 1, static_cast<int>(left.count())) > 0;
  }

  std::string Receive(std::string* into) {
    if (!Wait(POLLIN)) return "receive: timeout";
    char chunk[4096];
    const ssize_t n = recv(fd_, chunk, sizeof(chunk), 0);
    if (n == 0) return "receive: closed by peer";
    if (n < 0) return Errno("receive").substr(1);
    into->append(chunk, static_cast<size_t>(n));
    return "";
  }

  std::string AskHttp() {
    const std::string request =
        "GET " + options_.path + " HTTP/1.1\r\nHost: load\r\n" +
        (options_.persistent ? "" : "Connection: close\r\n") + "\r\n";
    if (!WriteAll(fd_, request)) return Errno("send");
    std::string in;
    size_t head_end = std::string::npos, length = 0;
    while (head_end == std::string::npos || in.size() < head_end + 4 + length) {
      if (std::string error = Receive(&in); !error.empty()) return "!" + error;
      head_end = in.find("\r\n\r\n");
      const char* field = strcasestr(in.c_str(), "content-length:");
      if (field != nullptr) length = strtoul(field + 15, nullptr, 10);
    }
    if (strcasestr(in.substr(0, head_end).c_str(), "connection: close") !=
        nullptr) {
      Close();
    }
    if (!in.starts_with("HTTP/1.1 200"))
      return "!http status " + in.substr(9, 3);
    const size_t at = in.find("\"pod\":\"", head_end);
    if (at == std::string::npos) {
      std::string body = in.substr(head_end + 4);
      return body.substr(0, body.find('\n'));
    }
    return in.substr(at + 7, in.find('"', at + 7) - at - 7);
  }

  static std::string Errno(const char* operation) {
    const char* name = strerrorname_np(errno);
    return "!" + std::string(operation) + ": " + (name != nullptr ? name : "?");
  }

  const Options& options_;
  int fd_ = -1;
  SteadyClock::time_point deadline_;
};

void Record(Load* load, double began_ms, double ended_ms, double due_ms,
            const std::string& answer) {
  const std::lock_guard lock(load->mutex);
  ++load->sent;
  if (load->options.rate > 0 && began_ms - due_ms > 100) ++load->late;
  if (answer.starts_with("!")) {
    ++load->failed;
    ++load->errors[answer.substr(1)];
    load->last_failure_ms = std::max(load->last_failure_ms, began_ms);
    if (load->first_failures.size() < 20)
      load->first_failures.push_back({began_ms, answer.substr(1)});
    return;
  }
  load->latency_ms.push_back(static_cast<float>(ended_ms - began_ms));
  PodCount& pod = load->pods[answer];
  if (pod.count++ == 0) pod.first_ms = began_ms;
  pod.last_ms = std::max(pod.last_ms, began_ms);
}

double SinceStart(const Load& load) {
  return Ms(SteadyClock::now() - load.start).count();
}

void Work(Load* load) {
  const Options& options = load->options;
  Connection connection(options);
  while (!load->stop) {
    const int64_t ticket = load->next++;
    if (options.count >= 0 && ticket >= options.count) return;
    const double due_ms =
        options.rate > 0 ? 1000.0 * static_cast<double>(ticket) / options.rate
                         : SinceStart(*load);
    if (options.duration.count() > 0 && due_ms >= options.duration.count())
      return;
    while (!load->stop) {
      const double wait_ms = due_ms - SinceStart(*load);
      if (wait_ms <= 0) break;
      std::this_thread::sleep_for(Ms(std::min(wait_ms, 50.0)));
    }
    if (load->stop) return;
    const double began_ms = SinceStart(*load);
    const std::string answer = connection.Ask();
    const double ended_ms = SinceStart(*load);
    if (!options.persistent || answer.starts_with("!")) connection.Close();
    Record(load, began_ms, ended_ms, due_ms, answer);
  }
}

void Print(Load* load, double elapsed_ms, int64_t started_unix_ms) {
  std::vector<float>& l = load->latency_ms;
  std::sort(l.begin(), l.end());
  const auto at = [&l](double q) {
    return l.empty() ? 0.0
                     : static_cast<double>(
                           l[static_cast<size_t>(
                               q * static_cast<double>(l.size() - 1))]);
  };
  printf("{\"sent\":%lld,\"ok\":%lld,\"failed\":%lld,\"late\":%lld,",
         static_cast<long long>(load->sent),
         static_cast<long long>(load->sent - load->failed),
         static_cast<long long>(load->failed),
         static_cast<long long>(load->late));
  printf("\"elapsed_ms\":%.0f,\"started_unix_ms\":%lld,\"pods\":{", elapsed_ms,
         static_cast<long long>(started_unix_ms));
  const char* comma = "";
  for (const auto& [name, pod] : load->pods) {
    printf("%s%s:{\"count\":%lld,\"first_ms\":%.1f,\"last_ms\":%.1f}", comma,
           JsonQuote(name).c_str(), static_cast<long long>(pod.count),
           pod.first_ms, pod.last_ms);
    comma = ",";
  }
  printf("},\"errors\":{");
  comma = "";
  for (const auto& [reason, count] : load->errors) {
    printf("%s%s:%lld", comma, JsonQuote(reason).c_str(),
           static_cast<long long>(count));
    comma = ",";
  }
  printf("},\"first_failures\":[");
  comma = "";
  for (const Failure& f : load->first_failures) {
    printf("%s{\"at_ms\":%.1f,\"reason\":%s}", comma, f.at_ms,
           JsonQuote(f.reason).c_str());
    comma = ",";
  }
  printf("],\"last_failure_ms\":%.1f,", load->last_failure_ms);
  printf("\"latency_ms\":{\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f}}\n",
         at(0.5), at(0.99), at(1));
  fflush(stdout);
}

Ms ParseTime(const std::string& text) {
  char* unit = nullptr;
  const double value = strtod(text.c_str(), &unit);
  const std::string rest = unit;
  if (rest == "ms") return Ms(value);
  if (rest == "m") return Ms(value * 60000);
  if (rest == "s" || rest.empty()) return Ms(value * 1000);
  Die("not a time: " + text + " (write 2s or 500ms)");
}

SocketAddress ParseAddress(const std::string& text) {
  const auto address = ParseSocketAddress(text);
  if (!address) Die("not an address: " + text);
  return *address;
}

Options ParseOptions(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i], value;
    if (flag == "--help" || flag == "-h") {
      fputs(kUsage, stdout);
      exit(0);
    }
    if (flag == "--persistent") {
      o.persistent = true;
      continue;
    }
    if (flag == "--fail-on-error") {
      o.fail_on_error = true;
      continue;
    }
    if (const size_t eq = flag.find('='); eq != std::string::npos) {
      value = flag.substr(eq + 1);
      flag.resize(eq);
    } else if (i + 1 < argc) {
      value = argv[++i];
    }
    if (value.empty()) Die(flag + " needs a value; see --help");
    if (flag == "--target") o.target = ParseAddress(value), o.has_target = true;
    else if (flag == "--protocol") o.protocol = value;
    else if (flag == "--rate") o.rate = atof(value.c_str());
    else if (flag == "--duration") o.duration = ParseTime(value);
    else if (flag == "--timeout") o.timeout = ParseTime(value);
    else if (flag == "--count") o.count = atoll(value.c_str());
    else if (flag == "--path") o.path = value;
    else if (flag == "--workers") o.workers = atoi(value.c_str());
    else if (flag == "--bind") o.bind = ParseAddress(value);
    else Die("unknown flag " + flag + "; see --help");
  }
  if (!o.has_target) Die("--target is needed; see --help");
  if (o.protocol != "http" && o.protocol != "tcp" && o.protocol != "udp")
    Die("--protocol is one of http, tcp, udp");
  if (o.count >= 0) o.duration = Ms(0);
  if (o.workers <= 0) o.workers = o.persistent ? 1 : 64;
  return o;
}

int Main(int argc, char** argv) {
  Load load;
  load.options = ParseOptions(argc, argv);
  sigset_t signals;
  sigemptyset(&signals);
  for (const int s : {SIGTERM, SIGINT, SIGUSR1}) sigaddset(&signals, s);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int64_t started_unix_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::system_clock::now().time_since_epoch())
          .count();
  load.start = SteadyClock::now();
  std::thread watcher([&] {
    int signal = 0;
    sigwait(&signals, &signal);
    load.stop = true;
  });
  std::vector<std::thread> workers;
  for (int i = 0; i < load.options.workers; ++i)
    workers.emplace_back(Work, &load);
  for (std::thread& worker : workers) worker.join();
  const double elapsed_ms = SinceStart(load);
  pthread_kill(watcher.native_handle(), SIGUSR1);
  watcher.join();
  Print(&load, elapsed_ms, started_unix_ms);
  const bool bad = load.failed > 0 || load.sent == 0;
  return load.options.fail_on_error && bad ? 1 : 0;
}

}  // namespace
}  // namespace fairlead::apps

int main(int argc, char** argv) { return fairlead::apps::Main(argc, argv); }
