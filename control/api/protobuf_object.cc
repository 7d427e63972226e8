// SPDX-License-Identifier: Apache-2.0
#include "control/api/protobuf_object.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "control/api/api_status.h"
#include "control/api/forwarding_responder.h"
#include "control/api/json_access.h"
#include "control/api/protobuf.h"
#include "control/api/schema_set.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"

namespace fairlead::api {
namespace {

constexpr std::string_view kMagic("k8s\0", 4);
constexpr std::string_view kMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.";

// The fields of the envelope (runtime.Unknown) and of its TypeMeta; of a
// list; of a watch event and of the raw object in it.
enum : uint32_t {
  kTypeMeta = 1,
  kRaw = 2,
  kContentEncoding = 3,
  kContentType = 4,
  kApiVersion = 1,
  kKind = 2,
  kListMetadata = 1,
  kListItems = 2,
  kEventType = 1,
  kEventObject = 2,
  kRawObject = 1,
};

struct Envelope {
  std::string api_version, kind;
  std::string_view raw;
};

absl::StatusOr<Envelope> OpenEnvelope(std::string_view body) {
  if (body.empty()) return absl::InvalidArgumentError("empty data");
  if (!body.starts_with(kMagic)) {
    return absl::InvalidArgumentError(
        "provided data does not appear to be a protobuf message, expected "
        "prefix [107 56 115 0]");
  }
  body.remove_prefix(kMagic.size());
  if (body.empty()) return absl::InvalidArgumentError("empty body");
  Envelope out;
  WireReader reader(body);
  WireField field;
  while (!reader.done()) {
    FL_RETURN_IF_ERROR(reader.Next("Unknown", &field));
    if (field.wire_type != 2) continue;
    if (field.number == kRaw) out.raw = field.bytes;
    if (field.number != kTypeMeta) continue;
    WireReader meta(field.bytes);
    WireField text;
    while (!meta.done()) {
      FL_RETURN_IF_ERROR(meta.Next("TypeMeta", &text));
      if (text.number == kApiVersion) out.api_version = text.bytes;
      if (text.number == kKind) out.kind = text.bytes;
    }
  }
  return out;
}

// What `write` writes, as the object of an envelope.
std::string InEnvelope(std::string_view api_version, std::string_view kind,
                       const std::function<void(BackwardWriter*)>& write) {
  BackwardWriter out;
  out.Bytes(kContentType, "");
  out.Bytes(kContentEncoding, "");
  size_t before = out.size();
  write(&out);
  out.CloseMessage(kRaw, before);
  before = out.size();
  out.Bytes(kKind, kind);
  out.Bytes(kApiVersion, api_version);
  out.CloseMessage(kTypeMeta, before);
  out.Raw(kMagic);
  return std::move(out).Take();
}

// "apps/v1" -> "io.k8s.api.apps.v1.": the group's first word names it.
std::string PackageOf(std::string_view api_version) {
  size_t slash = api_version.find('/');
  if (slash == std::string_view::npos) {
    return StrCat("io.k8s.api.core.", api_version, ".");
  }
  std::string_view group = api_version.substr(0, slash);
  std::string_view version = api_version.substr(slash + 1);
  if (group == "meta.k8s.io") return std::string(kMeta);
  return StrCat("io.k8s.api.", group.substr(0, group.find('.')), ".", version,
                ".");
}

bool IsProtobuf(std::string_view content_type) {
  absl::string_view type = Absl(content_type.substr(0, content_type.find(';')));
  return absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(type),
                                Absl(kProtobufType));
}

std::string Excerpt(std::string_view body) {
  constexpr size_t kMost = 30;
  if (body.empty()) return "<empty>";
  std::string hex = absl::BytesToHexString(Absl(body.substr(0, kMost)));
  return body.size() > kMost ? StrCat(hex, " ...") : hex;
}

class Transcoder : public ForwardingResponder {
 public:
  Transcoder(const ProtobufObjects* objects, ResponderRef inner)
      : ForwardingResponder(std::move(inner)), objects_(*objects) {}

  void Send(kube::Response response) override {
    for (auto& [name, value] : response.headers) {
      if (name != "Content-Type" || value != "application/json") continue;
      Json object = kube::JsonFromText(response.body);
      if (auto bytes = objects_.Encode(object)) {
        response.body = *std::move(bytes);
        value = std::string(kProtobufType);
      }
      break;
    }
    ForwardingResponder::Send(std::move(response));
  }

 private:
  const ProtobufObjects& objects_;
};

}  // namespace

bool HasProtobuf(const Kind& kind) {
  return kind.schema != nullptr && !kind.schema->by_number.empty();
}

const Type* ProtobufObjects::TypeOf(std::string_view api_version,
                                    std::string_view kind) const {
  const Type* type = nullptr;
  if (const Kind* row = kinds_.FindByKind(api_version, kind)) {
    type = row->schema;
  } else if (const SchemaSet* schemas = kinds_.schemas()) {
    type = schemas->Find(StrCat(PackageOf(api_version), kind));
    // Status and the options of verbs are the same in every group.
    if (type == nullptr) type = schemas->Find(StrCat(kMeta, kind));
  }
  return type == nullptr || type->by_number.empty() ? nullptr : type;
}

absl::StatusOr<Json> ProtobufObjects::Decode(
    std::string_view body, std::string_view expected_kind) const {
  absl::StatusOr<Envelope> envelope = OpenEnvelope(body);
  if (!envelope.ok()) {
    return BadRequest(StrCat(
        "the object provided is unrecognized (must be of type ", expected_kind,
        "): ", envelope.status().message(), " (", Excerpt(body), ")"));
  }
  const std::string& version = envelope->api_version;
  auto failed = [&](std::string_view why) {
    return BadRequest(StrCat(
        envelope->kind, " in version ",
        Quote(std::string_view(version).substr(version.find('/') + 1)),
        " cannot be handled as a ", expected_kind, ": ", why));
  };
  const Type* type = TypeOf(version, envelope->kind);
  if (type == nullptr) {
    const Kind* row = kinds_.FindByKind(version, envelope->kind);
    if (row != nullptr) {
      return UnsupportedMediaType(
          "the body of the request was in an unknown format - accepted media "
          "types include: application/json, application/yaml");
    }
    return failed(StrCat(
        "no kind ", Quote(envelope->kind), " is registered for version ",
        Quote(version),
        " in scheme \"kubernetes/pkg/api/legacyscheme/scheme.go:30\""));
  }
  absl::StatusOr<Json> object = ReadMessage(*type, envelope->raw);
  if (!object.ok()) return failed(Std(object.status().message()));
  (*object)["apiVersion"] = version;
  (*object)["kind"] = envelope->kind;
  return object;
}

std::optional<std::string> ProtobufObjects::Encode(const Json& object) const {
  std::string_view version = Text(object, "apiVersion");
  std::string_view kind = Text(object, "kind");
  if (const Type* type = TypeOf(version, kind)) {
    return InEnvelope(version, kind, [&](BackwardWriter* out) {
      WriteMessage(*type, object, out);
    });
  }
  if (!kind.ends_with("List")) return std::nullopt;
  const Json& items = List(object, "items");
  return EncodeList(version, kind.substr(0, kind.size() - 4),
                    Get(object, "metadata"), items.size(),
                    [&](size_t i) { return items[i]; });
}

std::optional<std::string> ProtobufObjects::EncodeList(
    std::string_view api_version, std::string_view kind, const Json& metadata,
    size_t count, const std::function<Json(size_t)>& item) const {
  const Type* type = TypeOf(api_version, kind);
  const Type* list = TypeOf("meta.k8s.io/v1", "ListMeta");
  if (type == nullptr || list == nullptr) return std::nullopt;
  return InEnvelope(api_version, StrCat(kind, "List"),
                    [&](BackwardWriter* out) {
                      for (size_t i = count; i > 0; --i) {
                        size_t before = out->size();
                        WriteMessage(*type, item(i - 1), out);
                        out->CloseMessage(kListItems, before);
                      }
                      size_t before = out->size();
                      WriteMessage(*list, metadata, out);
                      out->CloseMessage(kListMetadata, before);
                    });
}

std::string ProtobufObjects::WatchFrame(std::string_view type,
                                        const Json& object) const {
  BackwardWriter out;
  out.Bytes(kRawObject, Encode(object).value_or(""));
  out.CloseMessage(kEventObject, 0);
  out.Bytes(kEventType, type);
  uint32_t size = static_cast<uint32_t>(out.size());
  const char length[] = {
      static_cast<char>(size >> 24), static_cast<char>(size >> 16),
      static_cast<char>(size >> 8), static_cast<char>(size)};
  out.Raw({length, sizeof length});
  return std::move(out).Take();
}

absl::Status ProtobufRequest(const ProtobufObjects& objects,
                             std::string_view expected_kind,
                             kube::Request* request) {
  for (auto& [name, value] : request->headers) {
    if (!absl::EqualsIgnoreCase(name, "content-type")) continue;
    // A body of a verb that may go without one.
    if (!IsProtobuf(value) || request->body.empty()) break;
    FL_ASSIGN_OR_RETURN(Json object,
                        objects.Decode(request->body, expected_kind));
    request->body = object.dump();
    value = "application/json";
    break;
  }
  return absl::OkStatus();
}

ResponderRef ProtobufResponder(const ProtobufObjects* objects,
                               ResponderRef responder) {
  return std::make_shared<Transcoder>(objects, std::move(responder));
}

}  // namespace fairlead::api
