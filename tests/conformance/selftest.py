#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The comparisons find what differs, and nothing else."""

import unittest

import printed
import progress
import protobuf_tree
import answers
import volatile
from recordings import Printed


def alike(command, one, other):
    return not printed.compare(command, Printed(one, "", 0),
                               Printed(other, "", 0))


class PrintedTest(unittest.TestCase):
    def test_tables(self):
        one = ("NAME             READY   STATUS    RESTARTS   AGE\n"
               "web-7cf86f795f-6q74l   1/1   Running   0   12s\n"
               "web-7cf86f795f-jchkq   0/1   Pending   0   3m4s\n")
        same = ("NAME   READY   STATUS   RESTARTS   AGE\n"
                "web-5b5d648845-bbbbb   0/1   Pending   0   1s\n"
                "web-5b5d648845-ccccc   1/1   Running   0   2s\n")
        self.assertTrue(alike("kubectl get pods", one, same))
        for a, b in (("Running", "Completed"), ("1/1", "0/1"),
                     ("READY", "STATE"), ("web-5b5d648845-bbbbb", "one")):
            self.assertFalse(alike("kubectl get pods", one,
                                   same.replace(a, b)), (a, b))

    def test_what_is_drawn(self):
        for one, same, different in (
                ("clusterIP: 10.106.236.42", "clusterIP: 10.96.0.9",
                 "clusterIP: None"),
                ("resourceVersion: \"33443\"", "resourceVersion: \"7\"",
                 "generation: 7"),
                ("80:31850/TCP", "80:30001/TCP", "81:31850/TCP"),
                ("80:30080/TCP", "80:30080/TCP", "80:30081/TCP"),
                ("2026-11-22T15:18:49Z", "2027-01-01T00:00:00Z", "never"),
                ("period=10s", "period=10s", "period=5s")):
            self.assertTrue(alike("x", one, same), one)
            self.assertFalse(alike("x", one, different), one)

    def test_pods_of_a_drained_node(self):
        def warned(*parts):
            return f"Warning: {'; '.join(parts)}\n"
        managed = "ignoring DaemonSet-managed Pods: default/ds-bbbbb"
        alone = "deleting Pods that declare no controller: default/two"
        for text in (warned(alone, managed), warned(managed, alone)):
            self.assertTrue(alike("kubectl drain node-3", warned(managed),
                                  text))
        self.assertFalse(alike("kubectl drain node-3", warned(managed), ""))

    def test_exit_and_stderr(self):
        self.assertTrue(printed.compare("x", Printed("", "", 0),
                                        Printed("", "", 1)))
        self.assertTrue(printed.compare("x", Printed("", "a", 0),
                                        Printed("", "b", 0)))


class JsonTest(unittest.TestCase):
    def test_fields(self):
        one = {"metadata": {"uid": "a", "name": "n"}, "spec": {"x": 1}}
        for other, count in (
                ({"metadata": {"uid": "b", "name": "n"}, "spec": {"x": 1}}, 0),
                ({"metadata": {"name": "n"}, "spec": {"x": 1}}, 1),
                ({"metadata": {"uid": "b", "name": "n"}, "spec": {"x": 2}}, 1),
                ({"metadata": {"uid": "b", "name": "m"}, "spec": {}}, 2)):
            self.assertEqual(len(volatile.differences(
                volatile.blank(one), volatile.blank(other))), count, other)

    def test_later_requests_hold_our_values(self):
        pairs = answers.Pairs()
        pairs.learn({"metadata": {"uid": "11-22", "resourceVersion": "31868",
                                  "name": "web-7cf86f795f-6q74l"}},
                    {"metadata": {"uid": "33-44", "resourceVersion": "91",
                                  "name": "web-5b5d648845-ccccc"}})
        self.assertEqual(
            pairs.rewrite("/pods/web-7cf86f795f-6q74l?resourceVersion=31868"),
            "/pods/web-5b5d648845-ccccc?resourceVersion=91")


def _deployment(name, ready, **spec):
    return {"kind": "Deployment", "metadata": {
        "name": name, "namespace": "d", "generation": 1},
        "spec": {"replicas": 2, **spec},
        "status": {"observedGeneration": 1, "replicas": 2,
                   "readyReplicas": ready, "availableReplicas": ready}}


def _differ(one, other, path="/x"):
    return answers.body(("json", one), ("json", other), answers.Pairs(), path)


class AnswersTest(unittest.TestCase):
    def test_on_its_way(self):
        settled, moving = _deployment("w", 2), _deployment("w", 1)
        self.assertFalse(_differ(moving, settled))
        self.assertFalse(_differ(settled, moving))
        # The spec counts all the while, and so does a settled status.
        self.assertTrue(_differ(moving, _deployment("w", 2, paused=True)))
        self.assertTrue(_differ(settled, dict(settled, status=dict(
            settled["status"], collisionCount=1))))

    def test_lists(self):
        def names(*items):
            return {"kind": "DeploymentList", "items": list(items)}
        web = _deployment("web-7cf86f795f", 2)
        twin = _deployment("web-5b5d648845", 2)
        other = _deployment("web-65687f64bc", 2, paused=True)
        self.assertFalse(_differ(names(web, other), names(
            dict(other, metadata=dict(other["metadata"],
                                      name="web-579d8d4b6d")), twin)))
        self.assertTrue(_differ(names(web, other), names(twin, twin)))
        self.assertTrue(_differ(names(web), names()))
        self.assertTrue(_differ(names(), names(web)))

    def test_events(self):
        def events(*texts):
            return {"kind": "EventList", "items": [
                {"type": "Normal", "reason": "Scaled", "message": text,
                 "involvedObject": {"kind": "Deployment", "name": "w"}}
                for text in texts]}
        path = "/api/v1/events?limit=5"
        self.assertFalse(_differ(events("from 1 to 2", "from 2 to 3"),
                                 events("from 1 to 3"), path))
        self.assertTrue(_differ(events("from 1 to 2"), events("to 2"), path))
        self.assertTrue(_differ(events("from 1 to 2"), events(), path))

    def test_what_is_about_to_come(self):
        def of(ready, revision):
            out = _deployment("w", ready)
            out["metadata"]["annotations"] = {
                "deployment.kubernetes.io/revision": revision}
            return out
        self.assertFalse(_differ(of(1, "1"), of(2, "2")))
        self.assertTrue(_differ(of(2, "1"), of(2, "2")))

    def test_the_time_of_a_change(self):
        def of(subsets, trigger):
            return {"kind": "Endpoints", "subsets": subsets, "metadata": {
                "name": "e", "annotations": {progress.TRIGGER: "TIME"}
                if trigger else {"a": "b"}}}
        some = [{"addresses": [{"ip": "10.244.1.2"}]}]
        one, other = of(some, True), of(some, False)
        del other["metadata"]["annotations"]
        self.assertFalse(_differ(one, other))
        self.assertTrue(_differ(one, of(some, False)))
        one, other = of(None, True), of(None, False)
        del other["metadata"]["annotations"]
        self.assertTrue(_differ(one, other))

    def test_gone(self):
        left = {"kind": "Pod", "metadata": {"name": "p"}}
        leaving = {"kind": "Pod", "metadata": {
            "name": "p", "deletionTimestamp": "TIME"}}
        tree = {"object": [{"1": [{"1": ["p"], "9": ["TIME"]}]}]}
        self.assertTrue(answers.is_deleted(("json", leaving)))
        self.assertFalse(answers.is_deleted(("json", left)))
        self.assertTrue(answers.is_deleted(("protobuf", tree)))
        self.assertFalse(answers.is_deleted(
            ("protobuf", {"object": [{"1": [{"1": ["p"]}]}]})))

    def test_managers_and_conditions_in_any_order(self):
        def of(managers, types):
            return {"metadata": {"managedFields": [
                {"manager": m, "operation": "Update"} for m in managers]},
                "status": {"conditions": [{"type": t} for t in types]}}
        one = of(["a", "kube-apiserver.new"], ["X", "Y"])
        self.assertFalse(_differ(one, of(["kube-apiserver", "a"],
                                         ["Y", "X"])))
        self.assertTrue(_differ(one, of(["a"], ["X", "Y"])))
        self.assertTrue(_differ(one, of(["a", "kube-apiserver"], ["X"])))


class ProtobufTest(unittest.TestCase):
    def test_differences(self):
        def tree(kind, *items):
            return {"type": [{"1": ["v1"], "2": [kind]}],
                    "object": [{"1": [{}], "2": list(items)}]}

        def item(name, value):
            return {"1": [{"1": [name], "5": ["uid"]}], "2": [value]}
        one = tree("ConfigMapList", item("a", 1), item("b", 2))
        self.assertFalse(protobuf_tree.differences(
            one, tree("ConfigMapList", item("b", 2), item("a", 1)),
            answers.Pairs()))
        for other in (tree("ConfigMapList", item("a", 1), item("b", 3)),
                      tree("ConfigMapList", item("a", 1)),
                      tree("SecretList", item("a", 1), item("b", 2))):
            self.assertTrue(protobuf_tree.differences(one, other,
                                                      answers.Pairs()))


    def test_groups(self):
        def groups(*names):
            return {"type": [{"1": ["v1"], "2": ["APIGroupList"]}],
                    "object": [{"1": [{"1": [name], "2": [
                        {"1": [f"{name}/v1"], "2": ["v1"]}]}
                        for name in names]}]}
        served = {"apps/v1", "batch/v1"}
        self.assertFalse(protobuf_tree.differences(
            groups("a", "batch", "apps"), groups("apps", "batch"),
            answers.Pairs(), served))
        self.assertTrue(protobuf_tree.differences(
            groups("apps", "batch"), groups("apps"), answers.Pairs(), served))

    def test_rollout_on_its_way(self):
        def sets(*counts):
            return {"type": [{"1": ["apps/v1"], "2": ["ReplicaSetList"]}],
                    "object": [{"1": [{}], "2": [
                        {"1": [{"1": [f"w-{i}"], "5": ["uid"], "13": [
                            {"4": ["owner"]}]}],
                         "2": [{"1": [count], "4": [7]}]}
                        for i, count in enumerate(counts)]}]}
        self.assertFalse(protobuf_tree.differences(
            sets(2, 2), sets(0, 3), answers.Pairs()))
        self.assertTrue(protobuf_tree.differences(
            sets(0, 2), sets(0, 3), answers.Pairs()))

    def test_tree(self):
        # Unknown {1: TypeMeta {1: "v1"}, 2: {1: {1: "n"}, 2: 7}}
        body = b"k8s\0\x0a\x04\x0a\x02v1\x12\x07\x0a\x03\x0a\x01n\x10\x07"
        tree = protobuf_tree.tree(body)
        self.assertEqual(tree["object"], [{"1": [{"1": ["n"]}], "2": [7]}])
        with self.assertRaises(ValueError):
            protobuf_tree.tree(b"{}")


if __name__ == "__main__":
    unittest.main()
