// SPDX-License-Identifier: Apache-2.0
#include "userspace/agent/api_feeds.h"

#include <spdlog/spdlog.h>

#include <map>
#include <utility>

#include "userspace/base/status.h"
#include "userspace/base/strings.h"
#include "userspace/kube/control_resources.h"
#include "userspace/kube/service_cidr.h"
#include "userspace/model/intake.h"

namespace fairlead::agent {
namespace {

using kube::WatchEvent;

}  // namespace

class ApiFeeds::Impl {
 public:
  Impl(EventLoop* loop, kube::Transport* transport,
       const std::string& node_name, model::Cluster* cluster,
       ApiFeedsCallbacks callbacks)
      : cluster_(cluster),
        callbacks_(std::move(callbacks)),
        services_(this),
        slices_(this),
        node_(this),
        service_cidrs_(this),
        service_feed_(loop, transport, ServiceOptions(), &services_),
        slice_feed_(loop, transport, SliceOptions(), &slices_),
        node_feed_(loop, transport, NodeOptions(node_name), &node_),
        service_cidr_feed_(loop, transport, Base(kube::ServiceCidrs()),
                           &service_cidrs_) {}

  void Start() {
    service_feed_.Start();
    slice_feed_.Start();
    node_feed_.Start();
    service_cidr_feed_.Start();
  }

  std::vector<Watch> watches() const {
    auto watch = [](std::string resource, const kube::Reflector& feed,
                    size_t objects, const Sink& sink) {
      return Watch{std::move(resource), feed.has_synced(),
                   feed.resource_version(), feed.stats(), objects,
                   sink.undecodable, sink.changes};
    };
    return {watch("services", service_feed_, cluster_->service_count(),
                  services_),
            watch("endpointslices", slice_feed_, cluster_->slice_count(),
                  slices_),
            watch("nodes", node_feed_, node_.found ? 1 : 0, node_),
            watch("servicecidrs", service_cidr_feed_,
                  service_cidrs_.objects.size(), service_cidrs_)};
  }

  uint64_t service_changes() const { return services_.changes; }
  uint64_t endpoint_changes() const { return slices_.changes; }

  bool synced() const {
    return service_feed_.has_synced() && slice_feed_.has_synced();
  }
  bool node_synced() const { return node_feed_.has_synced(); }

  absl::Status connection_ = absl::UnavailableError("not connected yet");

 private:
  class Sink : public kube::ReflectorSink {
   public:
    explicit Sink(Impl* impl) : impl_(impl) {}
    void OnState(const absl::Status& status) override {
      state = status;
      impl_->UpdateConnection();
    }
    void OnIgnored(std::string_view why) override {
      // The first, the second, the fourth: a mad server doesn't fill the log.
      ++ignored_;
      if ((ignored_ & (ignored_ - 1)) != 0) return;
      spdlog::warn(
          "msg=\"left out what the API server sent\" why=\"{}\" times={}",
          why, ignored_);
    }
    uint64_t undecodable = 0;
    uint64_t changes = 0;
    std::optional<absl::Status> state;  // nullopt: no word yet

   protected:
    void Count(const model::Intake& intake) { undecodable += intake.nameless; }
    Impl* impl_;

   private:
    uint64_t ignored_ = 0;
  };

  class ServiceSink : public Sink {
   public:
    using Sink::Sink;
    void ReplaceBegin() override { impl_->cluster_->BeginServiceList(); }
    void OnListed(const kube::EncodedObject& object) override {
      ++changes;
      Put(object);
    }
    void ReplaceEnd(std::string_view) override {
      impl_->cluster_->EndServiceList();
      // has_synced() turns true before this is called.
      impl_->callbacks_.on_change();
    }
    void ReplaceAbort() override { impl_->cluster_->AbortServiceList(); }
    void OnEvent(WatchEvent event, const kube::EncodedObject& object) override {
      ++changes;
      if (event == WatchEvent::kDeleted) {
        Count(model::DeleteService(object, impl_->cluster_));
      } else {
        Put(object);
      }
      impl_->callbacks_.on_change();
    }

   private:
    void Put(const kube::EncodedObject& object) {
      Count(model::PutService(object, impl_->cluster_));
    }
  };

  class SliceSink : public Sink {
   public:
    using Sink::Sink;
    void ReplaceBegin() override { impl_->cluster_->BeginEndpointSliceList(); }
    void OnListed(const kube::EncodedObject& object) override {
      ++changes;
      Put(object);
    }
    void ReplaceEnd(std::string_view) override {
      impl_->cluster_->EndEndpointSliceList();
      impl_->callbacks_.on_change();
    }
    void ReplaceAbort() override { impl_->cluster_->AbortEndpointSliceList(); }
    void OnEvent(WatchEvent event, const kube::EncodedObject& object) override {
      ++changes;
      if (event == WatchEvent::kDeleted) {
        Count(model::DeleteEndpointSlice(object, impl_->cluster_));
      } else {
        Put(object);
      }
      impl_->callbacks_.on_change();
    }

   private:
    void Put(const kube::EncodedObject& object) {
      const model::Intake intake =
          model::PutEndpointSlice(object, impl_->cluster_);
      Count(intake);
      if (intake.last_change.has_value()) {
        impl_->callbacks_.on_endpoints_changed(*intake.last_change);
      }
    }
  };

  class NodeSink : public Sink {
   public:
    using Sink::Sink;
    void ReplaceBegin() override { listed_.reset(); }
    void OnListed(const kube::EncodedObject& object) override {
      auto node = kube::DecodeNode(object);
      if (node.ok()) {
        listed_ = *std::move(node);
      } else {
        ++undecodable;
      }
    }
    void ReplaceEnd(std::string_view) override {
      found = listed_.has_value();
      impl_->callbacks_.on_node(listed_);
      impl_->callbacks_.on_change();
    }
    void ReplaceAbort() override {}
    void OnEvent(WatchEvent event, const kube::EncodedObject& object) override {
      listed_.reset();
      if (event != WatchEvent::kDeleted) OnListed(object);
      found = listed_.has_value();
      impl_->callbacks_.on_node(listed_);
    }
    bool found = false;

   private:
    std::optional<kube::Node> listed_;
  };

  class ServiceCidrSink : public Sink {
   public:
    using Sink::Sink;
    void ReplaceBegin() override { listed_.clear(); }
    void OnListed(const kube::EncodedObject& object) override {
      ++changes;
      Put(object, &listed_);
    }
    void ReplaceEnd(std::string_view) override {
      objects = std::move(listed_);
      Tell();
    }
    void ReplaceAbort() override { listed_.clear(); }
    void OnEvent(WatchEvent event, const kube::EncodedObject& object) override {
      ++changes;
      if (event == WatchEvent::kDeleted) {
        objects.erase(KeyOf(object));
      } else {
        Put(object, &objects);
      }
      Tell();
    }
    // Older servers have none, and a role may not be as wide. That is said
    // once; what was known stays.
    void OnState(const absl::Status& status) override {
      if (!absl::IsNotFound(status) && !absl::IsPermissionDenied(status)) {
        return;
      }
      if (!std::exchange(refused_, true)) {
        spdlog::warn("msg=\"cannot read ServiceCIDRs, --service-cidr counts "
                     "instead\" error=\"{}\"", status.ToString());
      }
      if (!told_) Tell();
    }
    std::map<std::string, std::vector<IpPrefix>> objects;

   private:
    std::string KeyOf(const kube::EncodedObject& object) {
      std::string key = model::KeyOf(object);
      undecodable += key.empty();
      return key;
    }
    void Put(const kube::EncodedObject& object,
             std::map<std::string, std::vector<IpPrefix>>* to) {
      const std::string key = KeyOf(object);
      auto ranges = kube::DecodeServiceCidr(object);
      if (ranges.ok()) {
        (*to)[key] = std::move(ranges->cidrs);
        return;
      }
      spdlog::warn("msg=\"ServiceCIDR not usable\" object={} error=\"{}\"", key,
                   ranges.status().ToString());
      // As it was.
      auto it = objects.find(key);
      if (it != objects.end()) (*to)[key] = it->second;
    }
    void Tell() {
      told_ = true;
      std::vector<IpPrefix> all;
      for (const auto& [key, ranges] : objects) {
        all.insert(all.end(), ranges.begin(), ranges.end());
      }
      impl_->callbacks_.on_service_cidrs(std::move(all));
    }

    std::map<std::string, std::vector<IpPrefix>> listed_;
    bool told_ = false;
    bool refused_ = false;
  };

  static kube::ReflectorOptions Base(const kube::Resource& resource) {
    kube::ReflectorOptions options;
    options.resource = resource;
    options.user_agent = "fairlead-agent";
    options.protobuf = true;
    options.streamed_list = true;
    return options;
  }
  static kube::ReflectorOptions ServiceOptions() {
    kube::ReflectorOptions options = Base(kube::Services());
    options.label_selector = "!service.kubernetes.io/service-proxy-name";
    options.field_selector = "spec.clusterIP!=None";
    return options;
  }
  static kube::ReflectorOptions SliceOptions() {
    kube::ReflectorOptions options = Base(kube::EndpointSlices());
    options.label_selector = "!service.kubernetes.io/headless";
    return options;
  }
  static kube::ReflectorOptions NodeOptions(const std::string& name) {
    kube::ReflectorOptions options = Base(kube::Nodes());
    options.field_selector = StrCat("metadata.name=", name);
    return options;
  }

  void UpdateConnection() {
    absl::Status worst;
    bool all_known = true;
    const std::pair<const Sink*, const char*> needed[] = {
        {&services_, "services"},
        {&slices_, "endpointslices"},
        {&node_, "nodes"}};
    for (const auto& [sink, resource] : needed) {
      if (sink->state.has_value()) {
        worst.Update(WithContext(*sink->state, resource));
      } else {
        all_known = false;
      }
    }
    // Until all have answered, only an error is news.
    if (worst.ok() && !all_known) return;
    // Another reason is news, too: what ended a connection isn't why there is
    // none now.
    const bool news = !told_ || worst != connection_;
    connection_ = worst;
    told_ = true;
    if (news) callbacks_.on_connection(worst);
  }

  bool told_ = false;
  model::Cluster* cluster_;
  ApiFeedsCallbacks callbacks_;
  ServiceSink services_;
  SliceSink slices_;
  NodeSink node_;
  ServiceCidrSink service_cidrs_;
  kube::Reflector service_feed_;
  kube::Reflector slice_feed_;
  kube::Reflector node_feed_;
  kube::Reflector service_cidr_feed_;
};

ApiFeeds::ApiFeeds(EventLoop* loop, kube::Transport* transport,
                   const std::string& node_name, model::Cluster* cluster,
                   ApiFeedsCallbacks callbacks)
    : impl_(std::make_unique<Impl>(loop, transport, node_name, cluster,
                                   std::move(callbacks))) {}
ApiFeeds::~ApiFeeds() = default;
void ApiFeeds::Start() { impl_->Start(); }
bool ApiFeeds::synced() const { return impl_->synced(); }
bool ApiFeeds::node_synced() const { return impl_->node_synced(); }
const absl::Status& ApiFeeds::connection() const { return impl_->connection_; }
uint64_t ApiFeeds::service_changes() const {
  return impl_->service_changes();
}
uint64_t ApiFeeds::endpoint_changes() const {
  return impl_->endpoint_changes();
}
std::vector<ApiFeeds::Watch> ApiFeeds::watches() const {
  return impl_->watches();
}

}  // namespace fairlead::agent
