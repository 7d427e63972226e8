// SPDX-License-Identifier: Apache-2.0
// The agent's messages as JSON, every field present. Pure.
#ifndef FAIRLEAD_USERSPACE_CLI_MESSAGE_JSON_H_
#define FAIRLEAD_USERSPACE_CLI_MESSAGE_JSON_H_

#include <string>

namespace google::protobuf {
class Message;
}

namespace fairlead::cli {

std::string MessageJson(const google::protobuf::Message& message,
                        bool indented);

}  // namespace fairlead::cli

#endif  // FAIRLEAD_USERSPACE_CLI_MESSAGE_JSON_H_
