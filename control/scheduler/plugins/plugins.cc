// SPDX-License-Identifier: Apache-2.0
#include "control/scheduler/plugin.h"

namespace fairlead::scheduler {

std::span<const FilterPlugin> FilterPlugins() {
  static constexpr FilterPlugin kPlugins[] = {
      {"NodeUnschedulable", false, FilterUnschedulable},
      {"NodeName", false, FilterNodeName},
      {"TaintToleration", false, FilterTaints},
      {"NodeAffinity", false, FilterNodeAffinity},
      {"NodePorts", true, FilterNodePorts},
      {"NodeResourcesFit", true, FilterResources},
  };
  return kPlugins;
}

std::span<const ScorePlugin> ScorePlugins() {
  // Spreading outweighs the others together: it is what keeps a service up.
  static constexpr ScorePlugin kPlugins[] = {
      {"Spreading", 4, ScoreSpreading},
      {"NodeResourcesLeastAllocated", 1, ScoreLeastAllocated},
      {"TaintToleration", 2, ScoreTaints},
  };
  return kPlugins;
}

}  // namespace fairlead::scheduler
