// SPDX-License-Identifier: Apache-2.0
// The Kubernetes API server: generic verbs over a KindTable and a Store,
// reached over HTTP/1.1, plain or with TLS, and, by controllers in this
// process, directly. docs/design/identity.md: who may do what.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_SERVER_H_
#define FAIRLEAD_CONTROL_API_SERVER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "control/api/kind.h"
#include "control/api/listen_address.h"
#include "control/store/store.h"
#include "userspace/base/clock.h"
#include "userspace/base/event_loop.h"
#include "userspace/kube/transport.h"
#include "userspace/pki/certificate.h"
#include "userspace/pki/key.h"
#include "userspace/pki/tls_server.h"

namespace fairlead::kube {
class TlsSettings;
}

namespace fairlead::api {

struct ServerOptions {
  size_t max_body_bytes = 3u << 20;
  // A watcher that lets more than this queue up is cut off.
  size_t max_watch_queue_bytes = 16u << 20;
  // Kept for each kind, so that watches can resume.
  size_t watch_history = 4096;
  absl::Duration bookmark_interval = absl::Minutes(1);
  // Watches without timeoutSeconds end after this to twice this long.
  absl::Duration min_watch_timeout = absl::Minutes(30);
  // Of generated names, for tests; null: five random characters.
  std::function<std::string()> name_suffix;
  // The network namespace from which kubelets can be reached; "": this
  // process' own.
  std::string kubelet_netns;
  // What a new connection to a kubelet shows and trusts. Null: plain HTTP.
  std::function<std::shared_ptr<kube::TlsSettings>()> kubelet_tls;
  // Who may sign client certificates, and the key of service account tokens.
  // None: neither is worth anything.
  std::optional<pki::Certificate> client_authority;
  std::optional<pki::Key> token_key;
};

class ApiServer {
 public:
  // All pointers must outlive the server. `admissions` are asked in order.
  ApiServer(EventLoop* loop, store::Store* store, const KindTable* kinds,
            std::vector<Admission*> admissions, ServerOptions options = {},
            const Clock& clock = Clock::Real());
  ~ApiServer();

  // Reads the store into memory, makes the namespaces that must exist
  // (default, kube-system, kube-public, kube-node-lease), and from then on
  // serves transport(). REQUIRES: before Listen and before transport() is used.
  [[nodiscard]] absl::Status Load();

  // Opens one more address. May be called any number of times. Null `tls`:
  // plain HTTP, where who brings no credentials is the administrator.
  [[nodiscard]] absl::Status Listen(const ListenAddress& address,
                                    pki::TlsSource tls = nullptr);
  // The ports that were bound, in the order of Listen calls.
  std::vector<Port> ports() const;

  // Straight into the server, without sockets. Lives as long as the server.
  kube::Transport* transport();

  // Text for /metrics, to which the caller may add its own (called for each
  // scrape).
  void AddMetrics(std::function<std::string()> metrics);
  // A named check for /readyz and /healthz; the status says why not.
  void AddHealthCheck(std::string name, std::function<absl::Status()> check);
  // Runs `fn` once the objects that every cluster has are there, or failed to
  // be made (then /readyz says so): at once if they are.
  void OnBootstrapped(std::function<void()> fn);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_SERVER_H_
