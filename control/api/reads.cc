// SPDX-License-Identifier: Apache-2.0
// Verbs: get and list; and what they share with watch.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/api/api_status.h"
#include "control/api/list_options.h"
#include "control/api/protobuf_object.h"
#include "control/api/render.h"
#include "control/api/verbs.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/json_text.h"

namespace fairlead::api {
namespace {

// The namespace and name of a cached object.
std::pair<std::string_view, std::string_view> SplitKey(std::string_view key) {
  size_t slash = key.find('/');
  if (slash == key.npos) return {"", key};
  return {key.substr(0, slash), key.substr(slash + 1)};
}

absl::Status UnknownField(const Kind& kind, std::string_view field) {
  if (kind.selectable_fields.empty()) {
    return BadRequest(StrCat(
        Quote(field), " is not a known field selector: only "
                      "\"metadata.name\", \"metadata.namespace\""));
  }
  return BadRequest(StrCat("field label not supported: ", field));
}

// What a list answers from, and the continue token behind it.
struct Page {
  store::WatchCache::Objects at_revision;  // used if it is not the newest
  const store::WatchCache::Objects* objects = nullptr;
  store::Revision revision = 0;
  std::string start;  // the first key
};

// The part of a key that a list's continue tokens leave out.
std::string ListPrefix(const ApiRequest& request, const Selection& selection) {
  return request.kind().resource.namespaced && !selection.ns.empty()
             ? selection.ns
             : "";
}

absl::Status TokenTooOld(const ContinueToken& token) {
  ApiStatus status;
  status.code = 410;
  status.reason = "Expired";
  status.message =
      "The provided continue parameter is too old to display a consistent "
      "list result. You can start a new list without the continue parameter, "
      "or use the continue token in this response to retrieve the remainder "
      "of the results. Continuing with the provided token results in an "
      "inconsistent list - objects that were created, modified, or deleted "
      "between the time the first chunk was returned and now may show up in "
      "the list.";
  status.continue_token = ContinueToken{-1, token.start}.Encode();
  return MakeStatus(status);
}

absl::Status OpenPage(const ApiRequest& request, const ListOptions& options,
                      const std::string& prefix, store::Revision current,
                      Page* page) {
  const store::WatchCache& cache = request.served->cache;
  page->objects = &cache.objects();
  page->revision = current;
  page->start = prefix.empty() ? "" : prefix + "/";
  store::Revision at = 0;  // 0: the newest
  if (!options.continue_token.empty()) {
    FL_ASSIGN_OR_RETURN(ContinueToken token,
                        ContinueToken::Decode(options.continue_token));
    page->start = prefix + token.start;
    if (token.revision > 0) {
      if (token.revision < cache.oldest()) return TokenTooOld(token);
      at = token.revision;
    }
  } else if (options.match == "Exact") {
    at = *options.version;
    if (at < cache.oldest()) {
      return Expired("The resourceVersion for the provided list is too old.");
    }
  }
  store::Revision asked = std::max(at, options.version.value_or(0));
  if (asked > current) return VersionTooLarge(asked, current);
  if (at != 0 && at != current) {
    page->at_revision = cache.At(at);
    page->objects = &page->at_revision;
    page->revision = at;
  }
  return absl::OkStatus();
}

std::string ListKind(const ApiRequest& request) {
  return request.kind().resource.kind + "List";
}

// Plain JSON: the texts in memory, one after the other.
std::string JoinTexts(const ApiRequest& request, const Json& metadata,
                      const std::vector<store::ObjectRef>& objects) {
  size_t size = 256;
  for (const auto& object : objects) size += object->text.size() + 1;
  std::string out;
  out.reserve(size);
  StrAppend(&out, "{\"kind\":", Quote(ListKind(request)), ",\"apiVersion\":",
            Quote(request.kind().resource.ApiVersion()),
            ",\"metadata\":", metadata.dump(), ",\"items\":[");
  for (size_t i = 0; i < objects.size(); ++i) {
    if (i > 0) out += ',';
    out += objects[i]->text;
  }
  out += "]}\n";
  return out;
}

Json ListObject(const ApiRequest& request, Json metadata,
                const std::vector<store::ObjectRef>& objects, absl::Time now) {
  const Representation& how = request.representation;
  const Kind& kind = request.kind();
  if (how.form == Representation::Form::kTable) {
    Json table = EmptyTable(kind, how, true);
    table["metadata"] = std::move(metadata);
    for (const auto& object : objects) {
      table["rows"].push_back(TableRow(
          kind, ParseObject(*request.served, *object), how, now));
    }
    return table;
  }
  bool partial = how.form == Representation::Form::kPartialMetadata;
  Json items = Json::array();
  for (const auto& object : objects) {
    Json json = kube::JsonFromText(object->text);
    items.push_back(partial ? PartialMetadata(json) : std::move(json));
  }
  return {{"kind", partial ? "PartialObjectMetadataList" : ListKind(request)},
          {"apiVersion",
           partial ? "meta.k8s.io/v1" : kind.resource.ApiVersion()},
          {"metadata", std::move(metadata)},
          {"items", std::move(items)}};
}

// nullopt: the kind has no protobuf form.
std::optional<std::string> ProtobufList(
    const ApiRequest& request, const KindTable& kinds, const Json& metadata,
    const std::vector<store::ObjectRef>& objects) {
  const kube::Resource& resource = request.kind().resource;
  bool partial =
      request.representation.form == Representation::Form::kPartialMetadata;
  return ProtobufObjects(&kinds).EncodeList(
      partial ? "meta.k8s.io/v1" : resource.ApiVersion(),
      partial ? "PartialObjectMetadata" : resource.kind, metadata,
      objects.size(),
      [&](size_t i) { return kube::JsonFromText(objects[i]->text); });
}

kube::Response RenderList(const ApiRequest& request, const KindTable& kinds,
                          const Json& metadata,
                          const std::vector<store::ObjectRef>& objects,
                          absl::Time now) {
  const Representation& how = request.representation;
  if (how.protobuf) {
    if (auto list = ProtobufList(request, kinds, metadata, objects)) {
      kube::Response response = RawJsonResponse(200, *std::move(list));
      response.headers[0].second = std::string(kProtobufType);
      return response;
    }
  }
  if (how.form == Representation::Form::kObject && !how.yaml && !how.pretty) {
    return RawJsonResponse(200, JoinTexts(request, metadata, objects));
  }
  Json list = ListObject(request, metadata, objects, now);
  if (!how.yaml) return JsonResponse(200, list, how.pretty);
  kube::Response response = RawJsonResponse(200, YamlText(list));
  response.headers[0].second = "application/yaml";
  return response;
}

absl::StatusOr<kube::Response> ListResponse(const ApiRequest& request,
                                            const KindTable& kinds,
                                            store::Revision current,
                                            absl::Time now) {
  FL_ASSIGN_OR_RETURN(ListOptions options, ListOptions::Parse(request.query));
  FL_ASSIGN_OR_RETURN(Selection selection, ParseSelection(request));
  std::string prefix = ListPrefix(request, selection);
  Page page;
  FL_RETURN_IF_ERROR(OpenPage(request, options, prefix, current, &page));
  const std::string own = prefix.empty() ? "" : prefix + "/";
  std::vector<store::ObjectRef> found;
  int64_t remaining = 0;
  std::string next;
  for (auto it = page.objects->lower_bound(page.start);
       it != page.objects->end(); ++it) {
    if (!own.empty() && !it->first.starts_with(own)) {
      if (it->first < own) continue;
      break;
    }
    if (!selection.Matches(*it->second)) continue;
    if (options.limit > 0 &&
        found.size() == static_cast<size_t>(options.limit)) {
      // Selectors would need all the rest to be looked at; the API doesn't.
      if (++remaining && !selection.selects_all()) break;
      continue;
    }
    found.push_back(it->second);
  }
  Json metadata = {{"resourceVersion", StrCat(page.revision)}};
  if (remaining > 0) {
    next = found.back()->key.substr(prefix.size()) + '\0';
    metadata["continue"] = ContinueToken{page.revision, next}.Encode();
    if (selection.selects_all()) metadata["remainingItemCount"] = remaining;
  }
  return RenderList(request, kinds, metadata, found, now);
}

}  // namespace

bool Selection::Matches(const store::Object& object) const {
  auto [object_ns, object_name] = SplitKey(object.key);
  if (!ns.empty() && ns != object_ns) return false;
  if (!name.empty() && name != object_name) return false;
  for (const FieldSelector::Term& term : metadata_terms) {
    std::string_view actual =
        term.field == "metadata.name" ? object_name : object_ns;
    if ((actual == term.value) != term.equal) return false;
  }
  for (const FieldTerm& term : fields) {
    if ((object.fields[term.index] == term.value) != term.equal) return false;
  }
  return labels.Matches(object.labels);
}

absl::StatusOr<Selection> ParseSelection(const ApiRequest& request) {
  const Kind& kind = request.kind();
  Selection out;
  out.ns = request.ns;
  out.name = request.name;
  FL_ASSIGN_OR_RETURN(out.labels, LabelSelector::Parse(
                                      request.query.Get("labelSelector")));
  FL_ASSIGN_OR_RETURN(
      FieldSelector fields,
      FieldSelector::Parse(request.query.Get("fieldSelector")));
  for (const FieldSelector::Term& term : fields.terms()) {
    if (term.field == "metadata.name" && term.equal && out.name.empty()) {
      out.name = term.value;
      // Nothing is called "": the empty name must not mean "any".
      if (term.value.empty()) out.metadata_terms.push_back(term);
      continue;
    }
    if (term.field == "metadata.name" || term.field == "metadata.namespace") {
      out.metadata_terms.push_back(term);
      continue;
    }
    auto it = std::find(kind.selectable_fields.begin(),
                        kind.selectable_fields.end(), term.field);
    if (it == kind.selectable_fields.end()) {
      return UnknownField(kind, term.field);
    }
    out.fields.push_back(
        {static_cast<size_t>(it - kind.selectable_fields.begin()), term.value,
         term.equal});
  }
  return out;
}

kube::Response RenderObject(const ApiRequest& request, int status,
                            const Json& object, absl::Time now) {
  const Representation& how = request.representation;
  Json shown;
  const Json* out = &object;
  switch (how.form) {
    case Representation::Form::kObject:
      break;
    case Representation::Form::kTable: {
      shown = EmptyTable(request.kind(), how, true);
      auto version = object["metadata"].find("resourceVersion");
      if (version != object["metadata"].end()) {
        shown["metadata"]["resourceVersion"] = *version;
      }
      shown["rows"].push_back(
          TableRow(request.kind(), object, how, now));
      out = &shown;
      break;
    }
    case Representation::Form::kPartialMetadata:
      shown = PartialMetadata(object);
      out = &shown;
      break;
  }
  if (!how.yaml) return JsonResponse(status, *out, how.pretty);
  kube::Response response = RawJsonResponse(status, YamlText(*out));
  response.headers[0].second = "application/yaml";
  return response;
}

kube::Response RenderStored(const ApiRequest& request, int status,
                            const store::Object& object, absl::Time now) {
  const Representation& how = request.representation;
  if (how.form == Representation::Form::kObject && !how.yaml && !how.pretty) {
    return RawJsonResponse(status, FullText(*request.served, object, "\n"));
  }
  return RenderObject(request, status, ParseObject(*request.served, object),
                      now);
}

kube::Response RenderOutcome(const ApiRequest& request, int status,
                             const Registry::Outcome& outcome,
                             absl::Time now) {
  return outcome.stored != nullptr
             ? RenderStored(request, status, *outcome.stored, now)
             : RenderObject(request, status, *outcome.object, now);
}

void SendError(const ApiRequest& request, Responder& responder,
               const absl::Status& status) {
  responder.Send(ErrorResponse(status, request.representation.pretty));
}

void AddWarnings(const std::vector<std::string>& warnings,
                 kube::Response* response) {
  for (const std::string& warning : warnings) {
    response->headers.emplace_back("Warning",
                                   StrCat("299 - ", Quote(warning)));
  }
}

void Verbs::Get(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<ListOptions> options = ListOptions::Parse(request->query);
  if (!options.ok()) return SendError(*request, *responder, options.status());
  store::Revision asked = options->version.value_or(0);
  if (asked > registry_->revision()) {
    return SendError(*request, *responder,
                     VersionTooLarge(asked, registry_->revision()));
  }
  store::ObjectRef object = request->served->cache.Find(
      ObjectKey(request->kind(), request->ns, request->name));
  if (object == nullptr) {
    return SendError(*request, *responder,
                     NotFound(request->kind(), request->name));
  }
  responder->Send(
      RenderStored(*request, 200, *object, registry_->clock().Now()));
}

void Verbs::List(ApiRequestRef request, ResponderRef responder) {
  absl::StatusOr<kube::Response> response = ListResponse(
      *request, registry_->kinds(), registry_->revision(),
      registry_->clock().Now());
  if (!response.ok()) return SendError(*request, *responder, response.status());
  responder->Send(*std::move(response));
}

}  // namespace fairlead::api
