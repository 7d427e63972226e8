// SPDX-License-Identifier: Apache-2.0
// Any bytes as protobuf: a list, a watch, an object. An error or a value that
// holds what its header promises, never a crash; and a watch's bytes give the
// same frames however they are cut.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "userspace/kube/objects.h"
#include "userspace/kube/service_cidr.h"
#include "userspace/kube/wire.h"

using namespace fairlead;  // NOLINT: a fuzz target

static void Objects(std::string_view bytes) {
  const kube::EncodedObject object{kube::Encoding::kProtobuf, bytes};
  if (auto service = kube::DecodeService(object); service.ok()) {
    if (service->meta.name.empty()) abort();
    for (const kube::ServicePort& port : service->ports) {
      if (port.port == 0) abort();
    }
  }
  if (auto slice = kube::DecodeEndpointSlice(object); slice.ok()) {
    for (const kube::Endpoint& endpoint : slice->endpoints) {
      if (endpoint.address.family() != slice->family) abort();
    }
  }
  (void)kube::DecodeNode(object);
  (void)kube::DecodeServiceCidr(object);
  (void)kube::DecodeMeta(object);
  (void)kube::EndpointSliceServiceName(object);
}

static bool Split(std::string_view stream, size_t piece,
                  std::vector<std::string>* frames) {
  kube::ProtobufSplitter splitter(1 << 20);
  for (size_t at = 0; at < stream.size(); at += piece) {
    absl::Status status =
        splitter.Feed(stream.substr(at, piece), [&](std::string_view bytes) {
          frames->emplace_back(bytes);
          auto frame = kube::DecodeProtobufWatchFrame(bytes);
          if (frame.ok()) {
            (void)kube::HeadOf(*frame);
            (void)kube::DecodeProtobufStatus(frame->whole);
            Objects(frame->object.bytes);
          }
          return true;
        });
    if (!status.ok()) return false;
  }
  return true;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  std::string_view input(reinterpret_cast<const char*>(bytes), size);
  Objects(input);
  size_t items = 0;
  auto page = kube::DecodeProtobufListPage(input, [&](std::string_view item) {
    ++items;
    Objects(item);
  });
  if (page.ok() && page->items != items) abort();
  std::vector<std::string> whole, cut;
  bool whole_ok = Split(input, size + 1, &whole);
  bool cut_ok = Split(input, size > 0 ? 1 + bytes[0] % 16 : 1, &cut);
  if (whole_ok != cut_ok || whole != cut) abort();
  return 0;
}
