// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/completion.h"

#include <vector>

#include "absl/strings/str_join.h"
#include "userspace/base/strings.h"

namespace fairlead::cli {
namespace {

struct Words {
  std::string path;  // " cluster up": the words before the cursor
  std::vector<std::string> next;
};

void Collect(const CLI::App& app, const std::string& path,
             std::vector<Words>& out) {
  Words words{path, {}};
  for (const CLI::App* sub : app.get_subcommands({}))
    words.next.push_back(sub->get_name());
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames())
      words.next.push_back("--" + name);
  }
  out.push_back(words);
  for (const CLI::App* sub : app.get_subcommands({}))
    Collect(*sub, StrCat(path, " ", sub->get_name()), out);
}

std::string BashScript(const std::vector<Words>& tree) {
  std::string cases;
  for (const Words& words : tree) {
    StrAppend(&cases, "    \"", words.path, "\") next=\"",
              absl::StrJoin(words.next, " "), "\" ;;\n");
  }
  // The path is the words so far that are no flags.
  return StrCat(
      "_fairleadctl() {\n"
      "  local path=\"\" word next=\"\" i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    word=${COMP_WORDS[i]}\n"
      "    case $word in -*) ;; *) path=\"$path $word\" ;; esac\n"
      "  done\n"
      "  case \"$path\" in\n",
      cases,
      "  esac\n"
      "  COMPREPLY=($(compgen -W \"$next\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "}\n"
      "complete -o default -F _fairleadctl fairleadctl\n");
}

std::string FishScript(const std::vector<Words>& tree) {
  std::string out;
  for (const Words& words : tree) {
    std::string condition =
        words.path.empty() ? "__fish_use_subcommand"
                           : StrCat("__fish_seen_subcommand_from", words.path);
    for (const std::string& next : words.next) {
      StrAppend(&out, "complete -c fairleadctl -f -n '", condition, "' ",
                next.rfind("--", 0) == 0 ? StrCat("-l ", next.substr(2))
                                         : StrCat("-a ", next),
                "\n");
    }
  }
  return out;
}

}  // namespace

absl::StatusOr<std::string> CompletionScript(const CLI::App& app,
                                             const std::string& shell) {
  std::vector<Words> tree;
  Collect(app, "", tree);
  if (shell == "bash") return BashScript(tree);
  if (shell == "zsh") {
    return StrCat("autoload -U +X bashcompinit && bashcompinit\n",
                  BashScript(tree));
  }
  if (shell == "fish") return FishScript(tree);
  return absl::InvalidArgumentError(
      StrCat("no completion for \"", shell, "\": bash, zsh or fish"));
}

}  // namespace fairlead::cli
