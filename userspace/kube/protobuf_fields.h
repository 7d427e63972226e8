// SPDX-License-Identifier: Apache-2.0
// The fields of one protobuf message in their order, without a message's
// class: nothing is copied, and what nobody asks for costs a skip. Shared by
// what cuts lists and watches and by the decoder of EndpointSlices, of whose
// endpoints there are hundreds of thousands.
#ifndef FAIRLEAD_USERSPACE_KUBE_PROTOBUF_FIELDS_H_
#define FAIRLEAD_USERSPACE_KUBE_PROTOBUF_FIELDS_H_

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <cstdint>
#include <string_view>

namespace fairlead::kube {

struct ProtobufField {
  int number = 0;
  bool has_bytes = false;  // a string, bytes or a message; else a number
  uint64_t value = 0;
  std::string_view bytes;  // a view of the message
};

// Calls `fn(field)` for each field that is a varint or has a length; fields of
// other types are skipped. False: the message is cut off or corrupt; `fn` has
// seen the fields before that.
template <typename Fn>
[[nodiscard]] bool EachField(std::string_view message, Fn fn) {
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream in(
      reinterpret_cast<const uint8_t*>(message.data()),
      static_cast<int>(message.size()));
  while (uint32_t tag = in.ReadTag()) {
    ProtobufField field;
    field.number = WireFormatLite::GetTagFieldNumber(tag);
    switch (WireFormatLite::GetTagWireType(tag)) {
      case WireFormatLite::WIRETYPE_VARINT:
        if (!in.ReadVarint64(&field.value)) return false;
        fn(field);
        break;
      case WireFormatLite::WIRETYPE_LENGTH_DELIMITED: {
        uint32_t length = 0;
        if (!in.ReadVarint32(&length)) return false;
        const size_t at = in.CurrentPosition();
        if (length > message.size() - at) return false;
        if (!in.Skip(static_cast<int>(length))) return false;
        field.has_bytes = true;
        field.bytes = message.substr(at, length);
        fn(field);
        break;
      }
      default:
        if (!WireFormatLite::SkipField(&in, tag)) return false;
    }
  }
  // A tag of 0 ends a stream at its end only.
  return in.ConsumedEntireMessage() &&
         static_cast<size_t>(in.CurrentPosition()) == message.size();
}

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_PROTOBUF_FIELDS_H_
