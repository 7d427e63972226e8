// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/message_json.h"

#include <google/protobuf/util/json_util.h>

namespace fairlead::cli {

std::string MessageJson(const google::protobuf::Message& message,
                        bool indented) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = indented;
  options.always_print_primitive_fields = true;
  std::string text;
  // Our own messages always have a JSON form.
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  return text;
}

}  // namespace fairlead::cli
