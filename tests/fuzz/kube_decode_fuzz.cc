// SPDX-License-Identifier: Apache-2.0
// Any bytes as an object or a list: an error or a value that holds what its
// header promises, never a crash.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "userspace/kube/objects.h"
#include "userspace/kube/service_cidr.h"
#include "userspace/kube/wire.h"

using namespace fairlead;  // NOLINT: a fuzz target

static void Objects(std::string_view text) {
  if (auto service = kube::DecodeService(text); service.ok()) {
    if (service->meta.name.empty()) abort();
    for (const kube::ServicePort& port : service->ports) {
      if (port.port == 0) abort();
    }
  }
  if (auto slice = kube::DecodeEndpointSlice(text); slice.ok()) {
    for (const kube::Endpoint& endpoint : slice->endpoints) {
      if (endpoint.address.family() != slice->family) abort();
    }
  }
  (void)kube::DecodeNode(text);
  (void)kube::DecodeServiceCidr(text);
  (void)kube::EndpointSliceServiceName(text);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string text(reinterpret_cast<const char*>(bytes), size);
  Objects(text);
  size_t items = 0;
  auto page = kube::DecodeListPage(&text, [&](std::string_view item) {
    ++items;
    Objects(item);
  });
  if (page.ok() && page->items != items) abort();
  return 0;
}
