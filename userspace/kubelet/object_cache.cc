// SPDX-License-Identifier: Apache-2.0
#include "userspace/kubelet/object_cache.h"

#include "absl/strings/escaping.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/json.h"

namespace fairlead::kubelet {
namespace {

constexpr absl::Duration kRetry = absl::Seconds(2);

void Decode(const Json& data, bool base64,
            std::map<std::string, std::string>* values) {
  if (!data.is_object()) return;
  for (const auto& [key, value] : data.items()) {
    if (!value.is_string()) continue;
    std::string text = value.get<std::string>();
    if (base64 && !absl::Base64Unescape(value.get<std::string>(), &text))
      continue;
    (*values)[key] = std::move(text);
  }
}

}  // namespace

ObjectCache::ObjectCache(EventLoop* loop, kube::Client* client, std::string ns,
                         std::function<void()> on_change)
    : loop_(loop),
      client_(client),
      ns_(std::move(ns)),
      on_change_(std::move(on_change)) {}

const absl::StatusOr<ObjectData>* ObjectCache::Find(bool secret,
                                                    const std::string& name) {
  const std::string key = StrCat(secret ? "secret/" : "configmap/", name);
  if (const auto it = objects_.find(key); it != objects_.end())
    return &it->second;
  if (!calls_.contains(key)) Fetch(secret, name, key);
  return nullptr;
}

void ObjectCache::Fetch(bool secret, const std::string& name,
                        const std::string& key) {
  calls_[key] = client_->Get(
      secret ? kube::Secrets() : kube::ConfigMaps(), ns_, name,
      [this, key, secret, name](absl::StatusOr<Json> object) {
        // Not destroyed here: this is its own callback.
        loop_->Post([call = std::shared_ptr<kube::Call>(
                         std::move(calls_[key]))] {});
        calls_.erase(key);
        if (!object.ok() && !kube::ApiErrorOf(object.status())) {
          retry_ = loop_->After(kRetry, [this] { on_change_(); });
          return;
        }
        absl::StatusOr<ObjectData> data = ObjectData();
        if (object.ok()) {
          Decode(At(*object, {"data"}), secret, &data->text);
          Decode(At(*object, {"binaryData"}), true, &data->binary);
        } else if (absl::IsNotFound(object.status())) {
          data = absl::NotFoundError(StrCat(secret ? "secret" : "configmap",
                                            " \"", name, "\" not found"));
        } else {
          data = object.status();
        }
        objects_.insert_or_assign(key, std::move(data));
        on_change_();
      });
}

}  // namespace fairlead::kubelet
