#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts data/ from a whole set of recordings: what is named below.

usage: cut.py RECORDINGS FOLDER

Afterwards data/expect.txt has to be written anew, by what is alike:
conformance.py FOLDER --controller PROGRAM --write-expect FOLDER/expect.txt
"""

import json
import pathlib
import re
import shutil
import sys

COMMANDS = """version get-raw-healthz diff-new apply-new apply-unchanged
diff-changed apply-changed-image rollout-status diff-unchanged
apply-server-side-new apply-server-side-unchanged apply-server-side-conflict
apply-server-side-force apply-server-side-over-client-side
apply-dry-run-server apply-dry-run-client apply-view-last-applied apply-prune
create-namespace create-namespace-again create-configmap
create-secret-generic create-secret-docker-registry create-serviceaccount
create-deployment create-service-clusterip create-service-nodeport
create-service-loadbalancer create-service-externalname
create-service-headless create-service-dual-stack
create-service-affinity-local create-endpointslice create-pod-two-containers
create-already-exists create-invalid-name run-pod get-namespaces get-nodes
get-nodes-o-wide get-secrets get-deployments get-deployments-o-wide
get-replicasets-o-wide get-services-o-yaml get-endpointslices-o-json
get-namespaces-o-json get-configmaps-o-yaml get-two-kinds get-not-found
get-unknown-kind get-ignore-not-found get-subresource-scale get-pods-watch
get-deployment-watch-wide
describe-service-dual-stack describe-service-externalname
describe-configmap describe-secret describe-not-found label-add
label-exists-error label-overwrite label-remove label-node label-invalid
annotate-add annotate-remove scale scale-current-replicas scale-back set-image
rollout-status-after-set-image annotate-change-cause rollout-history
rollout-history-revision rollout-undo rollout-undo-to-revision
rollout-restart rollout-pause rollout-pause-again rollout-restart-paused
rollout-resume rollout-status-bad-image rollout-undo-bad-image
set-env set-resources set-selector set-serviceaccount expose edit
edit-unchanged edit-invalid-then-cancel patch-strategic
patch-strategic-delete-container patch-strategic-service-ports patch-merge
patch-json patch-json-test-fails
patch-status-subresource patch-scale-subresource
get-service-loadbalancer-with-ip replace replace-force replace-not-found
wait-available wait-pod-ready wait-create cordon cordon-again
get-nodes-cordoned uncordon taint taint-overwrite taint-remove explain
explain-unknown auth-can-i auth-can-i-as auth-whoami get-as-forbidden
delete-pod-force delete-dry-run-server delete-by-label delete-not-found
delete-ignore-not-found delete-namespace get-after-delete
create-unknown-field-strict create-dry-run-client""".split()

CASES = """accept-variants already-exists bad-continue bad-field-selector
bad-label-selector bad-list-options binding cluster-ip-allocation
conflict-stale-resource-version defaults-created-objects delete-options
deployment-invalid dry-run eviction field-manager-from-user-agent finalizer
generate-name generation-rules gone-expired headless immutable-field
invalid-label invalid-name invalid-service-fields invalid-service-port
malformed-json method-not-allowed missing-required-field namespace-delete
no-op-update node-port-allocation not-acceptable not-found patch-errors
precondition-failed pretty-printing put-creates request-too-large
resource-version-too-large server-side-apply-lists service-type-changes
status-subresource strategic-merge-lists unauthorized-and-forbidden
unknown-field warnings wrong-content-type
wrong-kind-or-version""".split()

# Tables of kinds that are served; a file that holds none of them is left out.
TABLES = """configmaps controllerrevisions daemonsets deployments endpoints
endpointslices events ipaddresses jobs leases namespaces nodes
poddisruptionbudgets pod pods priorityclasses replicasets rolebindings roles
secrets serviceaccounts servicecidrs services""".split()


def main():
    source, target = map(pathlib.Path, sys.argv[1:])
    commands = target / "kubectl-1.32"
    for folder in (commands, target / "errors"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    shutil.rmtree(target / "manifests", ignore_errors=True)
    shutil.copytree(source / "manifests", target / "manifests")
    order = []
    for line in (source / "kubectl-1.32" / "ORDER.txt").read_text().split(
            "\n"):
        name = line.split("\t")[0]
        if name in COMMANDS:
            order.append(line)
            shutil.copy(source / "kubectl-1.32" / f"{name}.out.txt", commands)
            for packed in (source / "kubectl-1.32").glob(
                    f"{name}.http.jsonl*"):
                shutil.copy(packed, commands)
    (commands / "ORDER.txt").write_text("\n".join(order) + "\n")
    for name in CASES:
        shutil.copy(source / "errors" / f"{name}.json", target / "errors")
    shutil.rmtree(target / "discovery", ignore_errors=True)
    shutil.copytree(source / "discovery", target / "discovery")
    cut_tables(source / "tables", target / "tables")


def cut_tables(source, target):
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    index = [entry for entry in json.loads(
        (source / "index.json").read_text())
        if re.match(r"(other-)?(" + "|".join(TABLES) + r")\b",
                    entry["file"])]
    (target / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    for entry in index:
        shutil.copy(source / entry["file"], target)


if __name__ == "__main__":
    main()
