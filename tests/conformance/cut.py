#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts data/ from a whole set of recordings: the commands and cases below.

usage: cut.py RECORDINGS FOLDER

Afterwards data/expect.txt has to be written anew, by what is alike:
conformance.py FOLDER --controller PROGRAM --write-expect FOLDER/expect.txt
"""

import pathlib
import shutil
import sys

COMMANDS = """version get-raw-healthz diff-new apply-new apply-unchanged
diff-changed apply-changed-image rollout-status diff-unchanged
apply-server-side-new apply-server-side-unchanged apply-server-side-conflict
apply-server-side-force apply-server-side-over-client-side
apply-dry-run-server apply-dry-run-client apply-view-last-applied
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
get-unknown-kind get-ignore-not-found get-subresource-scale
describe-service-dual-stack describe-service-externalname
describe-configmap describe-secret describe-not-found label-add
label-exists-error label-overwrite label-remove label-invalid annotate-add
annotate-remove scale scale-current-replicas scale-back set-image
rollout-status-after-set-image annotate-change-cause rollout-history
rollout-history-revision rollout-undo rollout-undo-to-revision
rollout-restart rollout-pause rollout-pause-again rollout-restart-paused
rollout-resume set-env set-resources set-selector expose edit
edit-unchanged edit-invalid-then-cancel patch-strategic
patch-strategic-delete-container patch-json patch-json-test-fails
patch-status-subresource patch-scale-subresource
get-service-loadbalancer-with-ip replace replace-force replace-not-found
wait-available wait-pod-ready wait-create cordon cordon-again
get-nodes-cordoned uncordon taint taint-overwrite taint-remove explain
explain-unknown auth-can-i auth-can-i-as auth-whoami get-as-forbidden
delete-pod-force delete-dry-run-server delete-by-label delete-not-found
delete-ignore-not-found delete-namespace get-after-delete
create-unknown-field-strict create-dry-run-client""".split()

CASES = """already-exists bad-field-selector bad-label-selector bad-list-options
cluster-ip-allocation conflict-stale-resource-version deployment-invalid
dry-run finalizer generate-name headless immutable-field invalid-label
invalid-name invalid-service-port malformed-json method-not-allowed
no-op-update node-port-allocation not-acceptable not-found patch-errors
precondition-failed server-side-apply-lists service-type-changes
status-subresource strategic-merge-lists unknown-field warnings
wrong-content-type""".split()


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
    (commands / "ORDER.txt").write_text("\n".join(order) + "\n")
    for name in CASES:
        shutil.copy(source / "errors" / f"{name}.json", target / "errors")


if __name__ == "__main__":
    main()
