// SPDX-License-Identifier: Apache-2.0
// Responders that change something of an answer on its way.
//
// Threads: the event loop's only.
#ifndef FAIRLEAD_CONTROL_API_FORWARDING_RESPONDER_H_
#define FAIRLEAD_CONTROL_API_FORWARDING_RESPONDER_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "control/api/http.h"

namespace fairlead::api {

// Passes everything on but for objects, which are lines to who changes lines.
class ForwardingResponder : public Responder {
 public:
  explicit ForwardingResponder(ResponderRef inner)
      : inner_(std::move(inner)) {}
  void Send(kube::Response response) override {
    inner_->Send(std::move(response));
  }
  void Begin(kube::Response head) override { inner_->Begin(std::move(head)); }
  void Write(std::shared_ptr<const std::string> piece) override {
    inner_->Write(std::move(piece));
  }
  void End() override { inner_->End(); }
  size_t queued_bytes() const override { return inner_->queued_bytes(); }
  void Abort() override { inner_->Abort(); }
  void OnClosed(std::function<void()> fn) override {
    inner_->OnClosed(std::move(fn));
  }
  bool Upgrade(std::string head, OnData on_data) override {
    return inner_->Upgrade(std::move(head), std::move(on_data));
  }
  void OnDrained(std::function<void()> fn) override {
    inner_->OnDrained(std::move(fn));
  }

 protected:
  ResponderRef inner_;
};

// `responder`, whose answer carries `header` as well.
ResponderRef WithHeader(std::pair<std::string, std::string> header,
                        ResponderRef responder);

}  // namespace fairlead::api

#endif  // FAIRLEAD_CONTROL_API_FORWARDING_RESPONDER_H_
