// SPDX-License-Identifier: Apache-2.0
// The parts of HTTP that the verbs look at: a parsed target, the media types,
// and where an answer goes.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_HTTP_H_
#define FAIRLEAD_CONTROL_API_HTTP_H_

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "userspace/kube/transport.h"
#include "userspace/pki/certificate.h"

namespace fairlead::api {

// "%2F" and "+" (in a query) undone. nullopt: not percent-encoded right.
std::optional<std::string> PercentDecode(std::string_view text,
                                         bool plus_is_space);

// The query of a target. Unknown parameters are ignored, as the API does.
class Query {
 public:
  // `text` is what follows the "?". Bad pairs are left out.
  static Query Parse(std::string_view text);
  // The first value; "" when absent.
  std::string_view Get(std::string_view name) const;
  bool Has(std::string_view name) const;
  std::vector<std::string_view> All(std::string_view name) const;
  // A boolean of the API: absent, "0" and "false" are false, all else is true.
  bool Bool(std::string_view name) const;
  // nullopt when absent; a 400 when it is not a number.
  absl::StatusOr<std::optional<int64_t>> Integer(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> pairs_;
};

// The first value of a header, any case; "" when absent.
std::string_view FindHeader(const kube::Headers& headers,
                            std::string_view name);

inline constexpr std::string_view kProtobufType =
    "application/vnd.kubernetes.protobuf";

// How the client wants objects.
struct Representation {
  enum class Form { kObject, kTable, kPartialMetadata };
  Form form = Form::kObject;
  bool yaml = false;
  bool protobuf = false;  // never of a Table
  bool pretty = false;
  // Of a Table: "Metadata", "Object" or "None".
  std::string include_object = "Metadata";
  // Of a Table and of the metadata in it.
  std::string table_version = "meta.k8s.io/v1";
};

// Chooses from the Accept header, the highest q first. 406 when nothing fits.
// `list`: the resource can be watched, which shows in the message.
// `protobuf`: the kind has that form; else protobuf is passed over.
absl::StatusOr<Representation> Negotiate(const kube::Request& request,
                                         const Query& query, bool list,
                                         bool protobuf);

// `json` as the body of an answer.
kube::Response JsonResponse(int status, const nlohmann::json& json,
                            bool pretty);
kube::Response TextResponse(int status, std::string_view text);
// A Status object for an error.
kube::Response ErrorResponse(const absl::Status& status, bool pretty);
// `text` is JSON already.
kube::Response RawJsonResponse(int status, std::string text);

// Whether a client without an Accept for it gets indented JSON: curl and
// wget do, or whatever `pretty=` says.
bool WantsPretty(const kube::Request& request, const Query& query);

// Who is at the other end of a connection.
struct Peer {
  // This process itself, or one that reached the plain address.
  bool trusted = false;
  std::optional<pki::Certificate> certificate;  // as shown, not verified
};

// Where an answer goes: Send once; or Begin, then Write any number of times,
// then End. Held by whoever is to answer; the connection may be gone before
// that (then everything is ignored).
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void Send(kube::Response response) = 0;

  virtual void Begin(kube::Response head) = 0;
  virtual void Write(std::shared_ptr<const std::string> piece) = 0;
  // An event of a watch as an object, in the place of its line in JSON. Only
  // where somebody TakesObjects.
  virtual bool TakesObjects() const { return false; }
  virtual void WriteObject(std::shared_ptr<const kube::WatchedObject>) {}
  virtual void End() = 0;
  // What was written and not yet taken.
  virtual size_t queued_bytes() const = 0;
  // Cuts the connection, in the middle of an answer.
  virtual void Abort() = 0;
  // `fn` runs once when the client goes away before End; not after End.
  virtual void OnClosed(std::function<void()> fn) = 0;

  // Instead of Begin: sends `head` as it is, and the connection belongs to
  // another protocol. Write and End then send plain bytes; what the client
  // sends goes to `on_data`, the next of it once that has called `more`.
  // False: there is no connection that could be handed over.
  using OnData =
      std::function<void(std::string data, std::function<void()> more)>;
  virtual bool Upgrade(std::string /*head*/, OnData /*on_data*/) {
    return false;
  }
  // `fn` runs once, when all that was written has been taken; never if the
  // client goes away before.
  virtual void OnDrained(std::function<void()> fn) { fn(); }
};
// Shared between the connection and the operation under way.
using ResponderRef = std::shared_ptr<Responder>;

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_HTTP_H_
