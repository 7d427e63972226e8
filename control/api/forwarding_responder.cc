// SPDX-License-Identifier: Apache-2.0
#include "control/api/forwarding_responder.h"

namespace fairlead::api {
namespace {

class HeaderAdder : public ForwardingResponder {
 public:
  HeaderAdder(std::pair<std::string, std::string> header, ResponderRef inner)
      : ForwardingResponder(std::move(inner)), header_(std::move(header)) {}
  void Send(kube::Response response) override {
    response.headers.push_back(header_);
    ForwardingResponder::Send(std::move(response));
  }
  void Begin(kube::Response head) override {
    head.headers.push_back(header_);
    ForwardingResponder::Begin(std::move(head));
  }
  bool TakesObjects() const override { return inner_->TakesObjects(); }
  void WriteObject(std::shared_ptr<const kube::WatchedObject> object) override {
    inner_->WriteObject(std::move(object));
  }

 private:
  std::pair<std::string, std::string> header_;
};

}  // namespace

ResponderRef WithHeader(std::pair<std::string, std::string> header,
                        ResponderRef responder) {
  return std::make_shared<HeaderAdder>(std::move(header),
                                       std::move(responder));
}

}  // namespace fairlead::api
