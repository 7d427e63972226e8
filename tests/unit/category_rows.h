// SPDX-License-Identifier: Apache-2.0
// Which endpoints are used: rows of "policy, node, endpoints -> cluster set,
// local set". The situations are those that Kubernetes' own proxy tests. Both
// the product's model and the tests' reference are held against them. (One of
// those has no row: hints of nodes without the gate PreferSameTrafficDistribution,
// which can't be switched off in 1.36.)
#ifndef FAIRLEAD_TESTS_UNIT_CATEGORY_ROWS_H_
#define FAIRLEAD_TESTS_UNIT_CATEGORY_ROWS_H_

namespace fairlead {

struct CategoryRow {
  const char* name;
  // Letters: i, e: internal or external policy Local; x: reachable from
  // outside.
  const char* policy;
  const char* node;  // "node zone"; "-" is none
  // An endpoint a word: R ready, u unusable, T terminating but serving; L on
  // this node; z:a,b and n:x hints.
  const char* endpoints;
  const char* cluster;  // numbers from 1; "-": none
  const char* local;
  const char* reachable;  // by either
  bool any = true;
};

inline constexpr CategoryRow kCategoryRows[] = {
    {"zone hints", "", "x a", "R/z:a R/z:b R/z:c R/z:a", "1 4", "-", "1 4"},
    {"zone hints, external Local", "ex", "x a", "RL/z:a RL/z:b R/z:c R/z:a",
     "1 4", "1 2", "1 2 4"},
    {"zone hints, internal Local", "ix", "x a", "RL/z:a RL/z:b R/z:c R/z:a",
     "1 4", "1 2", "1 2 4"},
    {"node without labels", "", "- -", "R/z:a", "1", "-", "1"},
    {"node with an empty zone", "", "x -", "R/z:a", "1", "-", "1"},
    {"no hint for this zone", "", "x b", "R/z:a", "1", "-", "1"},
    {"unready ones of the zone are left out", "", "x a",
     "R/z:a R/z:b R/z:c u/z:a", "1", "-", "1"},
    {"no ready one in the zone", "", "x a", "u/z:a R/z:b R/z:c u/z:a", "2 3",
     "-", "2 3"},
    {"one without a hint", "", "x a", "R/z:a R/z:b R R/z:a", "1 2 3 4", "-",
     "1 2 3 4"},
    {"several zones in a hint", "", "x c", "R/z:a,b,c R/z:b,c R/z:b,d R/z:c",
     "1 2 4", "-", "1 2 4"},
    {"node hints win over zone hints", "", "1 a",
     "R/n:1/z:a R/n:2/z:b R/n:3/z:c R/n:4/z:a", "1", "-", "1"},
    {"one without any hint", "", "1 a", "R/n:1/z:a R R/n:3/z:c R/n:4/z:a",
     "1 2 3 4", "-", "1 2 3 4"},
    {"no node hint for this node: the zone's", "", "0 a",
     "R/n:1/z:a R/n:2/z:b R/n:3/z:c R/n:4/z:a", "1 4", "-", "1 4"},
    {"one without a node hint: the zone's", "", "1 a",
     "R/n:1/z:a R/z:b R/n:3/z:c R/n:4/z:a", "1 4", "-", "1 4"},
    {"an unready one without a hint doesn't count", "", "x a", "R/z:a R/z:b u",
     "1", "-", "1"},
    {"cluster and local sets overlap", "ex", "x a",
     "RL/z:a RL/z:b R/z:a R/z:b", "1 3", "1 2", "1 2 3"},
    {"internal Local, none at all", "i", "x -", "", "-", "-", "-", false},
    {"internal Local, none here", "i", "x -", "R R", "-", "-", "-"},
    {"internal Local, all here", "i", "x -", "RL RL", "-", "1 2", "1 2"},
    {"internal Local, one here", "i", "x -", "RL R", "-", "1", "1"},
    {"all unready", "", "x -", "u u", "-", "-", "-", false},
    {"one unready", "", "x -", "u R", "2", "-", "2"},
    {"all terminating", "", "x -", "TL T", "1 2", "-", "1 2"},
    {"terminating ones ignore topology", "", "x a", "T/z:a T/z:b", "1 2", "-",
     "1 2"},
    {"internal Local, reachable from outside", "ix", "x -", "RL R", "1 2", "1",
     "1 2"},
    {"external Local", "ex", "x -", "RL R", "1 2", "1", "1 2"},
    {"both Local", "iex", "x -", "RL R", "1 2", "1", "1 2"},
    {"both Local, none here", "iex", "x -", "R R", "1 2", "-", "1 2"},
    {"both Local, terminating elsewhere", "iex", "x -", "T T", "1 2", "-",
     "1 2"},
    {"external Local, only a terminating one here", "ex", "x -", "R uL TL T",
     "1", "3", "1 3"},
    {"external Local doesn't matter inside", "e", "x -", "R RL", "1 2", "-",
     "1 2"},
    {"internal Local only", "i", "x -", "R RL", "-", "2", "2"},
    {"none", "", "x -", "", "-", "-", "-", false},
    {"a single unready one", "", "x -", "u", "-", "-", "-", false},
};

}  // namespace fairlead

#endif  // FAIRLEAD_TESTS_UNIT_CATEGORY_ROWS_H_
