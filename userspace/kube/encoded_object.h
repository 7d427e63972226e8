// SPDX-License-Identifier: Apache-2.0
// One object as the server sent it.
#ifndef FAIRLEAD_USERSPACE_KUBE_ENCODED_OBJECT_H_
#define FAIRLEAD_USERSPACE_KUBE_ENCODED_OBJECT_H_

#include <string_view>

namespace fairlead::kube {

enum class Encoding { kJson, kProtobuf };

// A view: valid as long as the bytes are, which is a callback's time where a
// callback is given one. JSON has at least 64 readable bytes behind it (what
// simdjson wants); protobuf is the object's message, without its envelope.
struct EncodedObject {
  Encoding encoding = Encoding::kJson;
  std::string_view bytes;
};

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_ENCODED_OBJECT_H_
