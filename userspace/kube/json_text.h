// SPDX-License-Identifier: Apache-2.0
// Trees of JSON texts of some kilobytes, as objects are, and back: read by
// simdjson, which takes half of the time that Json::parse does, and written in
// a quarter of the time of Json::dump.
//
// Threads: any; each keeps a parser of its own, of bounded size.
#ifndef FAIRLEAD_USERSPACE_KUBE_JSON_TEXT_H_
#define FAIRLEAD_USERSPACE_KUBE_JSON_TEXT_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace fairlead::kube {

// As Json::parse(text, nullptr, false) makes it: discarded when it isn't JSON,
// and of a key that is there twice the last value. Then `repeats`, if any, is
// true; it may be in other cases, too. Recursive: bound the depth of what
// strangers send.
nlohmann::json JsonFromText(std::string_view text, bool* repeats = nullptr);

// Of an object what it is selected by: the values of its first two levels that
// are no lists or maps, and metadata.labels. Discarded: not a JSON object.
nlohmann::json OutlineFromText(std::string_view text);

// As Json::dump(-1, ' ', false, error_handler_t::replace) writes it: without
// blanks, and with U+FFFD for what is no UTF-8. Recursive.
std::string TextFromJson(const nlohmann::json& json);
void AppendJson(const nlohmann::json& json, std::string* out);
// `text` in quotes, with its escapes.
void AppendJsonString(std::string_view text, std::string* out);

}  // namespace fairlead::kube

#endif  // FAIRLEAD_USERSPACE_KUBE_JSON_TEXT_H_
