# SPDX-License-Identifier: Apache-2.0
"""Why a command or an exchange isn't alike."""

# Patterns over "NAME COMMAND": kinds that aren't served, so that the answer
# says that there is no such kind.
NOT_SERVED = [
    r"\b(statefulsets?|cronjobs?|componentstatuses|get-componentstatuses|"
    r"networkpolic\w+|ingress\w*|horizontalpodautoscalers?|hpa|autoscale|"
    r"roles?|rolebindings?|resourcequotas?|create-quota)\b",
]

# Name -> reason, of answers that speak of the machine that was recorded.
RECORDING = {
    "logs": "the recorded nodes' names don't resolve",
    "logs-no-container-named": "the recorded nodes' names don't resolve",
    "exec": "the recorded nodes' names don't resolve",
    "port-forward": "the recorded nodes' names don't resolve",
    "api-resources-cold-cache": "lists all kinds of the recorded build",
    "api-resources-warm": "lists all kinds of the recorded build",
    "api-versions": "lists all kinds of the recorded build",
}

# Name -> reason, where ours is meant to differ or is known to.
REASONS = {}
