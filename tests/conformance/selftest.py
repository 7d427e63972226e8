#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The comparisons find what differs, and nothing else."""

import unittest

import printed
import protobuf_tree
import replay
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
        pairs = replay.Pairs()
        pairs.learn({"metadata": {"uid": "11-22", "resourceVersion": "31868",
                                  "name": "web-7cf86f795f-6q74l"}},
                    {"metadata": {"uid": "33-44", "resourceVersion": "91",
                                  "name": "web-5b5d648845-ccccc"}})
        self.assertEqual(
            pairs.rewrite("/pods/web-7cf86f795f-6q74l?resourceVersion=31868"),
            "/pods/web-5b5d648845-ccccc?resourceVersion=91")


class ProtobufTest(unittest.TestCase):
    def test_tree(self):
        # Unknown {1: TypeMeta {1: "v1"}, 2: {1: {1: "n"}, 2: 7}}
        body = b"k8s\0\x0a\x04\x0a\x02v1\x12\x07\x0a\x03\x0a\x01n\x10\x07"
        tree = protobuf_tree.tree(body)
        self.assertEqual(tree["object"], [{"1": [{"1": ["n"]}], "2": [7]}])
        with self.assertRaises(ValueError):
            protobuf_tree.tree(b"{}")


if __name__ == "__main__":
    unittest.main()
