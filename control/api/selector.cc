// SPDX-License-Identifier: Apache-2.0
#include "control/api/selector.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/strings/numbers.h"
#include "control/api/api_status.h"
#include "userspace/base/status.h"
#include "userspace/base/strings.h"

namespace fairlead::api {
namespace {

absl::Status ParseError(std::string_view found, std::string_view expected,
                        std::string_view comma = ",") {
  return BadRequest(StrCat("unable to parse requirement: found '", found, "'",
                           comma, " expected: ", expected));
}

bool IsSpecial(char c) {
  return c == '=' || c == '!' || c == '(' || c == ')' || c == ',' ||
         c == '>' || c == '<';
}

bool IsSpace(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// The name part of a label key, or a non-empty label value.
bool IsQualified(std::string_view text, size_t limit) {
  auto alnum = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9');
  };
  if (text.empty() || text.size() > limit) return false;
  if (!alnum(text.front()) || !alnum(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return alnum(c) || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

class LabelParser {
 public:
  explicit LabelParser(std::string_view text) : text_(text) {}

  absl::StatusOr<LabelSelector> Parse() {
    LabelSelector selector;
    Next();
    if (token_.empty()) return selector;
    while (true) {
      FL_ASSIGN_OR_RETURN(LabelSelector::Requirement requirement,
                          ParseRequirement());
      selector.requirements_.push_back(std::move(requirement));
      if (token_.empty()) return selector;
      if (token_ != ",") return ParseError(token_, "',' or 'end of string'");
      Next();
      if (token_.empty()) return ParseError("", "identifier after ','");
    }
  }

 private:
  using Op = LabelSelector::Op;

  void Next() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
    size_t start = at_;
    if (at_ < text_.size() && IsSpecial(text_[at_])) {
      ++at_;
      // "==" and "!=" are one token.
      if (at_ < text_.size() && text_[at_] == '=' &&
          (text_[start] == '=' || text_[start] == '!')) {
        ++at_;
      }
    } else {
      while (at_ < text_.size() && !IsSpecial(text_[at_]) &&
             !IsSpace(text_[at_])) {
        ++at_;
      }
    }
    token_ = text_.substr(start, at_ - start);
  }

  bool IsWord() const { return !token_.empty() && !IsSpecial(token_[0]); }

  absl::StatusOr<LabelSelector::Requirement> ParseRequirement() {
    LabelSelector::Requirement out;
    bool absent = token_ == "!";
    if (absent) Next();
    if (!IsWord()) return ParseError(token_, "identifier");
    out.key = std::string(token_);
    FL_RETURN_IF_ERROR(CheckKey(out.key));
    Next();
    if (absent) {
      out.op = Op::kAbsent;
      return out;
    }
    if (token_.empty() || token_ == ",") return out;
    std::string op(token_);
    Next();
    if (op == "in" || op == "notin") {
      out.op = op == "in" ? Op::kIn : Op::kNotIn;
      FL_RETURN_IF_ERROR(ParseSet(&out.values));
    } else if (op == "=" || op == "==" || op == "!=") {
      out.op = op == "!=" ? Op::kNotIn : Op::kIn;
      FL_ASSIGN_OR_RETURN(std::string value, ParseValue());
      out.values.push_back(std::move(value));
    } else if (op == ">" || op == "<" || op == "gt" || op == "lt") {
      out.op = op == ">" || op == "gt" ? Op::kGreater : Op::kLess;
      FL_ASSIGN_OR_RETURN(std::string value, ParseValue());
      if (!absl::SimpleAtoi(value, &out.number)) {
        return BadRequest(StrCat(
            "values[0][", out.key, "]: Invalid value: ", Quote(value),
            ": for 'Gt', 'Lt' operators, the value must be an integer"));
      }
    } else {
      return ParseError(op, "in, notin, =, ==, !=, gt, lt");
    }
    return out;
  }

  // What follows an operator; may be empty ("app=").
  absl::StatusOr<std::string> ParseValue() {
    std::string value;
    if (IsWord()) {
      value = std::string(token_);
      FL_RETURN_IF_ERROR(CheckValue(value));
      Next();
    } else if (!token_.empty() && token_ != ",") {
      return ParseError(token_, "identifier");
    }
    return value;
  }

  absl::Status ParseSet(std::vector<std::string>* values) {
    if (token_ != "(") return ParseError(token_, "'('", "");
    bool want_value = true;
    for (Next();; Next()) {
      if (token_ == ")") {
        if (want_value) values->emplace_back();
        Next();
        std::sort(values->begin(), values->end());
        return absl::OkStatus();
      }
      if (token_ == ",") {
        if (want_value) values->emplace_back();
        want_value = true;
      } else if (IsWord() && want_value) {
        FL_RETURN_IF_ERROR(CheckValue(token_));
        values->emplace_back(token_);
        want_value = false;
      } else {
        return ParseError(token_, "',', or ')'");
      }
    }
  }

  absl::Status CheckKey(std::string_view key) {
    std::string_view name = key.substr(key.find('/') + 1);
    if (!IsQualified(name, 63)) {
      return BadRequest(StrCat(
          "unable to parse requirement: key: Invalid value: ", Quote(key),
          ": name part must consist of alphanumeric characters, '-', '_' or "
          "'.', and must start and end with an alphanumeric character (e.g. "
          "'MyName',  or 'my.name',  or '123-abc', regex used for validation "
          "is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckValue(std::string_view value) {
    if (!IsQualified(value, 63)) {
      return BadRequest(StrCat(
          "unable to parse requirement: values[0]: Invalid value: ",
          Quote(value),
          ": a valid label must be an empty string or consist of alphanumeric "
          "characters, '-', '_' or '.', and must start and end with an "
          "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or "
          "'12345', regex used for validation is "
          "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"));
    }
    return absl::OkStatus();
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string_view token_;  // empty at the end
};

absl::StatusOr<LabelSelector> LabelSelector::Parse(std::string_view text) {
  return LabelParser(text).Parse();
}

bool LabelSelector::Matches(const Labels& labels) const {
  for (const Requirement& requirement : requirements_) {
    auto it = std::lower_bound(
        labels.begin(), labels.end(), requirement.key,
        [](const auto& label, const std::string& key) {
          return label.first < key;
        });
    bool present = it != labels.end() && it->first == requirement.key;
    auto among = [&] {
      return present &&
             std::binary_search(requirement.values.begin(),
                                requirement.values.end(), it->second);
    };
    int64_t number = 0;
    bool numeric = present && absl::SimpleAtoi(it->second, &number);
    bool ok = false;
    switch (requirement.op) {
      case Op::kIn: ok = among(); break;
      case Op::kNotIn: ok = !among(); break;
      case Op::kExists: ok = present; break;
      case Op::kAbsent: ok = !present; break;
      case Op::kGreater: ok = numeric && number > requirement.number; break;
      case Op::kLess: ok = numeric && number < requirement.number; break;
    }
    if (!ok) return false;
  }
  return true;
}

absl::StatusOr<FieldSelector> FieldSelector::Parse(std::string_view text) {
  FieldSelector selector;
  auto bad = [&](std::string_view term) {
    return BadRequest(StrCat("invalid selector: '", text,
                             "'; can't understand '", term, "'"));
  };
  size_t at = 0;
  while (at < text.size()) {
    // A backslash takes the next character literally.
    size_t end = at;
    while (end < text.size() && text[end] != ',') {
      end += text[end] == '\\' && end + 1 < text.size() ? 2 : 1;
    }
    std::string_view term = text.substr(at, end - at);
    at = end + 1;
    if (term.empty()) continue;
    size_t op = term.find('=');
    if (op == term.npos) return bad(term);
    Term out;
    out.equal = op == 0 || term[op - 1] != '!';
    out.field = std::string(term.substr(0, out.equal ? op : op - 1));
    std::string_view value = term.substr(op + 1);
    if (value.starts_with('=')) value.remove_prefix(1);
    for (size_t i = 0; i < value.size(); ++i) {
      if (value[i] == '\\' && i + 1 < value.size()) ++i;
      out.value += value[i];
    }
    selector.terms_.push_back(std::move(out));
  }
  return selector;
}

}  // namespace fairlead::api
