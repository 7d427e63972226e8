// SPDX-License-Identifier: Apache-2.0
#include "tests/golden/runner.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "tests/golden/fake_maps.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/objects.h"
#include "userspace/kube/yaml.h"
#include "userspace/model/cluster.h"
#include "userspace/reconcile/reconciler.h"

namespace fairlead::reconcile {
namespace {

using nlohmann::json;

std::string SetText(const model::DesiredPort& port, model::EndpointSet set) {
  std::vector<std::string> names;
  for (const model::ServingEndpoint& e : port.endpoints) {
    if (set == model::EndpointSet::kCluster ? e.cluster : e.local) {
      names.push_back(StrCat(e.address.address.ToString(), ":",
                             e.address.port));
    }
  }
  return StrCat(set == model::EndpointSet::kCluster ? "cluster[" : "local[",
                absl::StrJoin(names, " "), "]");
}

std::string VerdictText(const model::DesiredPort& port, fl_verdict verdict,
                        model::EndpointSet set) {
  if (verdict == FL_VERDICT_REJECT) return "reject";
  if (verdict == FL_VERDICT_DROP) return "drop";
  return SetText(port, set);
}

std::string FrontendText(std::string_view key, const model::DesiredPort& port,
                         const model::Frontend& f) {
  return StrCat(key, port.name.empty() ? "" : ":", port.name, " ",
                model::FrontendKindName(f.kind), " ",
                ToString(ToServiceKey(f.address)), " internal=",
                VerdictText(port, f.internal_verdict(), f.internal),
                " external=",
                VerdictText(port, f.external_verdict(), f.external));
}

class Case {
 public:
  explicit Case(const OpenMaps& open_maps) : open_maps_(open_maps) {
    model::NodeConfig node;
    node.name = "node-1";
    node.zone = "zone-a";
    node.addresses = {{*IpAddress::Parse("192.0.2.1"), true}};
    NewCluster(std::move(node));
  }

  absl::Status Run(std::string_view command, const std::string& body,
                   std::string* out) {
    log_.clear();
    std::pair<absl::string_view, absl::string_view> words =
        absl::StrSplit(Absl(command), absl::MaxSplits(' ', 1));
    if (words.first == "node") return SetNode(body);
    if (maps_ == nullptr) FL_RETURN_IF_ERROR(StartProcess());
    if (words.first == "advance") {
      if (absl::Duration by; absl::ParseDuration(words.second, &by)) {
        now_ += by;
        Report(reconciler_->Advance(now_), out);
        return absl::OkStatus();
      }
      return absl::InvalidArgumentError(Absl(command));
    }
    FL_RETURN_IF_ERROR(Change(Std(words.first), Std(words.second), body));
    Problems(out);
    Frontends(out);
    Report(reconciler_->Apply(cluster_.get(), now_), out);
    return absl::OkStatus();
  }

 private:
  void NewCluster(model::NodeConfig node) {
    cluster_ = std::make_unique<model::Cluster>(std::move(node));
  }

  absl::Status StartProcess() {
    FL_ASSIGN_OR_RETURN(maps_, open_maps_());
    ReconcilerOptions options;
    options.grace = absl::Seconds(10);
    options.on_operation = [this](const Operation& operation,
                                  const absl::Status& status) {
      log_.push_back(
          StrCat(ToString(operation),
                 status.ok() ? "" : StrCat(" FAILED ", status.ToString())));
    };
    reconciler_ = std::make_unique<Reconciler>(maps_, std::move(options));
    return reconciler_->Restore();
  }

  absl::Status SetNode(const std::string& body) {
    FL_ASSIGN_OR_RETURN(const std::vector<json> docs,
                        kube::JsonFromYaml(body));
    if (docs.size() != 1) return absl::InvalidArgumentError("node");
    model::NodeConfig node;
    node.name = docs[0].value("name", "");
    node.zone = docs[0].value("zone", "");
    node.masquerade_all = docs[0].value("masqueradeAll", false);
    for (std::string text :
         docs[0].value("addresses", std::vector<std::string>())) {
      const bool node_port = text.back() == '!';
      if (node_port) text.pop_back();
      FL_ASSIGN_OR_RETURN(const IpAddress address, IpAddress::Parse(text));
      node.addresses.push_back({address, node_port});
    }
    cluster_->SetNode(std::move(node));
    return absl::OkStatus();
  }

  absl::Status Change(std::string_view verb, std::string_view rest,
                      const std::string& body) {
    if (verb == "apply") return Apply(body);
    if (verb == "list") return List(body);
    if (verb == "touch") {
      cluster_->MarkDirty(rest);
      return absl::OkStatus();
    }
    if (verb == "restart") {
      if (rest == "list") objects_.clear();
      NewCluster(cluster_->node());
      FL_RETURN_IF_ERROR(StartProcess());
      return List(rest == "list" ? body : absl::StrJoin(objects_, "\n---\n"));
    }
    if (verb == "delete") {
      absl::string_view key = Absl(rest);
      if (absl::ConsumePrefix(&key, "service ")) {
        cluster_->DeleteService(Std(key));
        return absl::OkStatus();
      }
      if (absl::ConsumePrefix(&key, "slice ")) {
        cluster_->DeleteEndpointSlice(Std(key));
        return absl::OkStatus();
      }
    }
    return absl::InvalidArgumentError(StrCat("no command ", verb, " ", rest));
  }

  absl::Status List(const std::string& body) {
    cluster_->BeginServiceList();
    cluster_->BeginEndpointSliceList();
    FL_RETURN_IF_ERROR(Apply(body));
    cluster_->EndServiceList();
    cluster_->EndEndpointSliceList();
    return absl::OkStatus();
  }

  // Objects are decoded as the agent does it.
  absl::Status Apply(const std::string& body) {
    FL_ASSIGN_OR_RETURN(const std::vector<json> docs,
                        kube::JsonFromYaml(body));
    if (!body.empty()) objects_.push_back(body);
    for (json doc : docs) {
      if (!doc["metadata"].contains("namespace")) {
        doc["metadata"]["namespace"] = "default";
      }
      const std::string key =
          StrCat(doc["metadata"]["namespace"].get<std::string>(), "/",
                 doc["metadata"].value("name", ""));
      const std::string kind = doc.value("kind", "");
      if (kind == "Service") {
        absl::StatusOr<kube::Service> service = kube::DecodeService(doc.dump());
        if (service.ok()) {
          cluster_->PutService(*std::move(service));
        } else {
          cluster_->RejectService(key, Std(service.status().message()));
        }
      } else if (kind == "EndpointSlice") {
        absl::StatusOr<kube::EndpointSlice> slice =
            kube::DecodeEndpointSlice(doc.dump());
        if (slice.ok()) {
          cluster_->PutEndpointSlice(*slice);
        } else {
          cluster_->RejectEndpointSlice(key, "",
                                        Std(slice.status().message()));
        }
      } else {
        return absl::InvalidArgumentError(StrCat("kind ", kind));
      }
    }
    return absl::OkStatus();
  }

  void Problems(std::string* out) {
    const std::vector<model::Problem> problems = cluster_->TakeNewProblems();
    if (problems.empty()) return;
    *out += "<<< problems\n";
    for (const model::Problem& p : problems) {
      StrAppend(out, model::ProblemReason(p.kind), " ", p.object, ": ", p.text,
                "\n");
    }
  }

  void Frontends(std::string* out) {
    *out += "<<< frontends\n";
    for (const std::string& key : cluster_->TakeDirty()) {
      const model::DesiredService desired = cluster_->Desired(key);
      if (desired.ports.empty()) StrAppend(out, key, " -\n");
      for (const model::DesiredPort& port : desired.ports) {
        for (const model::Frontend& f : port.frontends) {
          StrAppend(out, FrontendText(key, port, f), "\n");
        }
      }
      cluster_->MarkDirty(key);
    }
  }

  void Report(const ApplyResult& result, std::string* out) {
    StrAppend(out, "<<< operations ", result.operations, "\n");
    for (const std::string& line : log_) StrAppend(out, line, "\n");
    if (!result.failures.empty()) *out += "<<< failures\n";
    for (const ApplyResult::Failure& failure : result.failures) {
      StrAppend(out, failure.service, ": ", failure.status.ToString(), "\n");
    }
    const std::vector<std::string> dump = DumpMaps(*maps_, /*ids=*/false);
    if (dump != last_dump_) {
      StrAppend(out, "<<< maps\n", absl::StrJoin(dump, "\n"), "\n");
    }
    last_dump_ = dump;
    const std::vector<std::string> wrong = CheckReadable(*maps_);
    if (!wrong.empty()) {
      StrAppend(out, "<<< WRONG\n", absl::StrJoin(wrong, "\n"), "\n");
    }
  }

  OpenMaps open_maps_;
  MapSet* maps_ = nullptr;
  std::unique_ptr<model::Cluster> cluster_;
  std::unique_ptr<Reconciler> reconciler_;
  std::vector<std::string> objects_;  // all that was applied
  absl::Duration now_ = absl::Seconds(1000);
  std::vector<std::string> log_;
  std::vector<std::string> last_dump_;
};

}  // namespace

absl::StatusOr<std::string> RunCase(std::string_view text,
                                    const OpenMaps& open_maps) {
  Case test(open_maps);
  std::string out, body;
  std::optional<std::string> command;
  bool in_output = false;
  auto finish = [&]() -> absl::Status {
    if (!command) return absl::OkStatus();
    FL_RETURN_IF_ERROR(test.Run(*command, body, &out));
    out += "\n";
    command.reset();
    body.clear();
    return absl::OkStatus();
  };
  for (absl::string_view line : absl::StrSplit(Absl(text), '\n')) {
    if (absl::ConsumePrefix(&line, ">>> ")) {
      FL_RETURN_IF_ERROR(finish());
      command = std::string(line);
      in_output = false;
      StrAppend(&out, ">>> ", line, "\n");
    } else if (line.substr(0, 4) == "<<< ") {
      in_output = true;
    } else if (line.substr(0, 2) == "# ") {
      FL_RETURN_IF_ERROR(finish());
      StrAppend(&out, line, "\n");
    } else if (!in_output && command && !line.empty()) {
      StrAppend(&body, line, "\n");
      StrAppend(&out, line, "\n");
    }
  }
  FL_RETURN_IF_ERROR(finish());
  return out;
}

}  // namespace fairlead::reconcile
