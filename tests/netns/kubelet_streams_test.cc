// SPDX-License-Identifier: Apache-2.0
// Logs and commands in containers as a user asks for them: the real kubectl
// against the controller and a kubelet.
#include <sys/mount.h>

#include "tests/netns/kubelet_streams_fixture.h"

namespace fairlead {
namespace {

TEST_F(KubeletStreamsTest, Logs) {
  const std::string lines = "one\ntwo\nthree\n";
  EXPECT_EQ(Run("kubectl logs two -c a").text, lines);
  EXPECT_EQ(Run("kubectl logs two").text,
            "Defaulted container \"a\" out of: a, b\n" + lines);
  EXPECT_EQ(Run("kubectl logs two -c a --tail 2").text, "two\nthree\n");
  EXPECT_EQ(Run("kubectl logs two -c a --limit-bytes 5").text, "one\nt");
  EXPECT_EQ(Run("kubectl logs two -c a --since 1h").text, lines);
  EXPECT_EQ(Run("kubectl logs two -c a --since-time 2100-01-01T00:00:00Z").text,
            "");
  EXPECT_THAT(Run("kubectl logs two -c a --timestamps --tail 1").text,
              ::testing::MatchesRegex("20[0-9T:.-]+Z three\n"));
  EXPECT_EQ(Run("kubectl logs two -c b --previous").text, "crashing\n");
}

TEST_F(KubeletStreamsTest, LogErrors) {
  EXPECT_EQ(Run("kubectl logs two -c a --previous").text,
            "Error from server (BadRequest): previous terminated container "
            "\"a\" in pod \"two\" not found\n");
  EXPECT_THAT(Run("kubectl logs pulling").text,
              HasSubstr("container \"c\" in pod \"pulling\" is waiting to "
                        "start: image can't be pulled"));
  EXPECT_THAT(
      Run("kubectl get --raw /api/v1/namespaces/default/pods/two/log").text,
      HasSubstr("a container name must be specified for pod two, choose one "
                "of: [a b]"));
  EXPECT_THAT(Run("kubectl get --raw "
                  "'/api/v1/namespaces/default/pods/two/log?container=x'").text,
              HasSubstr("container x is not valid for pod two"));
  EXPECT_EQ(Run("kubectl logs unbound").text, "");
}

TEST_F(KubeletStreamsTest, FollowedLogsEndWithWhatComesLast) {
  const Outcome outcome =
      Run(StrCat("kubectl logs -f two -c a > ", Path("followed"), " & "
                 "until grep -q three ", Path("followed"), "; do sleep 0.05; "
                 "done; touch ", Path("flag"), "; "
                 "until grep -q last ", Path("followed"), "; do sleep 0.05; "
                 "done; kubectl exec two -c a -- kill -TERM 1; wait"));
  EXPECT_EQ(outcome.code, 0) << outcome.text;
  EXPECT_EQ(Run("cat " + Path("followed")).text, "one\ntwo\nthree\nlast\n");
}

// 400 lines that fill a file of 4096 bytes every fiftieth.
TEST_F(KubeletStreamsTest, FollowedLogsCrossRotations) {
  const std::string yaml = Path("chatty.yaml");
  std::ofstream(yaml) << R"(
apiVersion: v1
kind: Pod
metadata: {name: chatty}
spec:
  automountServiceAccountToken: false
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: host
    command:
    - sh
    - -c
    - 'i=0; while [ $i -lt 400 ]; do echo "this is line number $i";
       i=$((i+1)); sleep 0.01; done'
)";
  ASSERT_EQ(Run("kubectl apply -f " + yaml).code, 0);
  ASSERT_EQ(Run("kubectl wait --for=jsonpath='{.status.phase}'=Running "
                "pod/chatty --timeout=30s").code, 0);
  const Outcome followed = Run("kubectl logs -f chatty");
  EXPECT_EQ(followed.code, 0);
  std::string expected;
  for (int i = 0; i < 400; ++i)
    StrAppend(&expected, "this is line number ", i, "\n");
  EXPECT_EQ(followed.text, expected);
  // What is kept, as the shim left it.
  size_t files = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(Path("root/pods"))) {
    const std::string path = entry.path().string();
    if (path.find("_chatty_") == std::string::npos ||
        path.find("/c/0.log") == std::string::npos) {
      continue;
    }
    ++files;
    EXPECT_LE(fs::file_size(entry.path()), 4096u) << path;
  }
  EXPECT_EQ(files, 5u);
  const std::string kept = Run("kubectl logs chatty").text;
  EXPECT_TRUE(expected.ends_with(kept));
  EXPECT_GT(kept.size(), 4000u);
  EXPECT_LT(kept.size(), expected.size());
  EXPECT_EQ(Run("kubectl delete pod chatty").code, 0);
}

TEST_F(KubeletStreamsTest, Exec) {
  EXPECT_EQ(Run("kubectl exec two -c a -- echo 'a  b' '&'").text, "a  b &\n");
  const Outcome failed =
      Run("kubectl exec two -c a -- sh -c 'echo out; exit 7' 2>&1");
  EXPECT_EQ(failed.code, 7);
  EXPECT_THAT(failed.text, HasSubstr("out\n"));
  EXPECT_THAT(failed.text,
              HasSubstr("command terminated with exit code 7\n"));
  EXPECT_EQ(Run("kubectl exec two -c a -- sh -c 'echo err >&2' 2>/dev/null")
                .text, "");
  EXPECT_EQ(Run("kubectl exec two -c a -- sh -c 'echo $FLAG'").text,
            Path("flag") + "\n") << "the container's environment";
}

TEST_F(KubeletStreamsTest, ExecWithInput) {
  // More than any buffer on the way, in both directions.
  Run(StrCat("head -c 5000000 /dev/urandom > ", Path("blob")));
  EXPECT_EQ(Run(StrCat("kubectl exec -i two -c a -- cat < ", Path("blob"),
                       " | cmp - ", Path("blob"), " && echo same")).text,
            "same\n");
  EXPECT_EQ(Run(StrCat("kubectl cp ", Path("blob"), " two:", Path("copy"),
                       " -c a && cmp ", Path("blob"), " ", Path("copy"),
                       " && echo same")).text,
            "same\n");
}

// The kubelet writes into a pipe without a reader: the rest of the input is
// thrown away, and the command goes on.
TEST_F(KubeletStreamsTest, ACommandThatReadsNoMoreInput) {
  const std::string line = StrCat(
      "kubectl exec -i two -c a -- sh -c 'exec <&-; sleep 0.3; exit 7' < ",
      Path("blob"));
  Run(StrCat("head -c 5000000 /dev/urandom > ", Path("blob")));
  for (int i = 0; i < 3; i++) EXPECT_EQ(Run(line).code, 7);
  // To the command itself a pipe without a reader is the end, as in a shell.
  EXPECT_EQ(Run("kubectl exec two -c a -- bash -c "
                "'yes | true; echo ${PIPESTATUS[0]}'").text,
            "141\n");
}

TEST_F(KubeletStreamsTest, CopyFoldersThereAndBack) {
  const std::string from = Path("from"), there = Path("there"),
                    back = Path("back");
  ASSERT_EQ(Run(StrCat("mkdir -p ", from, "/deep/er && cd ", from,
                       " && seq 100000 > numbers && echo x > deep/er/x && "
                       "chmod 750 deep/er/x && : > deep/empty")).code, 0);
  const Outcome up =
      Run(StrCat("kubectl cp ", from, " two:", there, " -c a"));
  EXPECT_EQ(up.code, 0) << up.text;
  EXPECT_EQ(Run(StrCat("kubectl exec two -c a -- cat ", there, "/deep/er/x"))
                .text, "x\n");
  const Outcome down =
      Run(StrCat("kubectl cp two:", there, " ", back, " -c a"));
  EXPECT_EQ(down.code, 0) << down.text;
  // kubectl writes the files itself, and not with their modes.
  EXPECT_EQ(Run(StrCat("diff -r ", from, " ", back, " && echo same")).text,
            "same\n");
  EXPECT_EQ(Run(StrCat("stat -c %a ", there, "/deep/er/x")).text, "750\n");
  // A single file, and one that isn't there.
  EXPECT_EQ(Run(StrCat("kubectl cp two:", there, "/numbers ", Path("one"),
                       " -c a && cmp ", from, "/numbers ", Path("one"),
                       " && echo same")).text,
            "tar: Removing leading `/' from member names\nsame\n");
  // What tar says of it comes by another stream than the archive's end, which
  // kubectl cp is through with: it is shown only sometimes, here not asked for.
  Run(StrCat("kubectl cp two:", there, "/none ", Path("none"), " -c a"));
  EXPECT_NE(Run(StrCat("test -e ", Path("none"))).code, 0);
}

// What tar's exit status becomes. GNU tar ends its output with an archive's end
// even when it has failed; kubectl cp is through when it has read that and
// doesn't wait for the status (kubernetes/kubectl#980), so that it ends with 0
// against any server. Where there is no such end, the status is kubectl's.
TEST_F(KubeletStreamsTest, CopiesFailAsTarDoes) {
  const Outcome missing =
      Run("kubectl exec two -c a -- tar cf - /none/there 2>&1 > /dev/null");
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.text, HasSubstr("No such file or directory"));
  ASSERT_EQ(Run(StrCat("mkdir -p ", Path("bin"), " && printf '#!/bin/sh\n"
                       "echo tar: broken >&2; exit 3\n' > ", Path("bin/tar"),
                       " && chmod 755 ", Path("bin/tar"))).code, 0);
  const std::string yaml = Path("tar.yaml");
  std::ofstream(yaml) << R"(
apiVersion: v1
kind: Pod
metadata: {name: broken-tar}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: host
    command: [/bin/sleep, infinity]
    env: [{name: PATH, value: ")" << Path("bin") << "\"}]\n";
  ASSERT_EQ(Run("kubectl apply -f " + yaml).code, 0);
  ASSERT_EQ(Run("kubectl wait --for=condition=Ready pod/broken-tar "
                "--timeout=30s").code, 0);
  const Outcome down =
      Run(StrCat("kubectl cp broken-tar:/etc/hostname ", Path("none")));
  EXPECT_EQ(down.code, 3) << down.text;
  EXPECT_THAT(down.text, HasSubstr("tar: broken"));
  EXPECT_THAT(down.text, HasSubstr("command terminated with exit code 3"));
  const Outcome up =
      Run(StrCat("kubectl cp /etc/hostname broken-tar:", Path("none")));
  EXPECT_EQ(up.code, 3) << up.text;
  Run("kubectl delete pod broken-tar");
}

TEST_F(KubeletStreamsTest, ATerminalIsResized) {
  const Outcome outcome =
      Run(StrCat("python3 ", FAIRLEAD_SOURCE_DIR, "/tests/netns/terminal.py "
                 "kubectl exec -it two -c a -- sh -c '"
                 "until stty size | grep -q \"40 100\"; do sleep 0.1; done; "
                 "echo ready; "
                 "until stty size | grep -q \"33 77\"; do sleep 0.1; done; "
                 "echo now $(stty size)'"));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_THAT(outcome.text, HasSubstr("ready\nnow 33 77\n"));
}

TEST_F(KubeletStreamsTest, ExecWithATerminal) {
  EXPECT_THAT(Run("script -qec \"kubectl exec -it two -c a -- sh -c "
                  "'tty; echo \\$TERM'\" /dev/null").text,
              ::testing::AllOf(HasSubstr("/dev/pts/"), HasSubstr("xterm")));
}

// From the controller's Job over its pods' processes to the condition, with a
// ConfigMap that is mounted on the way.
TEST_F(KubeletStreamsTest, AJobRunsToItsEnd) {
  const std::string yaml = Path("job.yaml");
  std::ofstream(yaml) << StrCat(R"(
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: good evening}
---
apiVersion: batch/v1
kind: Job
metadata: {name: greet}
spec:
  completions: 2
  template:
    spec:
      automountServiceAccountToken: false
      restartPolicy: Never
      containers:
      - name: c
        image: host
        command: [cat, )", Path("words/greeting"), R"(]
        volumeMounts: [{name: words, mountPath: )", Path("words"), R"(}]
      volumes: [{name: words, configMap: {name: words}}]
)");
  const Outcome made = Run("kubectl apply -f " + yaml);
  ASSERT_EQ(made.code, 0) << made.text;
  const Outcome done =
      Run("kubectl wait --for=condition=complete job/greet --timeout=60s");
  EXPECT_EQ(done.code, 0) << done.text
                          << Run("kubectl describe job,pod").text;
  EXPECT_EQ(Run("kubectl get job greet -o "
                "jsonpath='{.status.succeeded}'").text, "2");
  EXPECT_EQ(Run("kubectl logs -l batch.kubernetes.io/job-name=greet").text,
            "good evening\ngood evening\n");
  EXPECT_EQ(Run("kubectl delete job greet").code, 0);
}

TEST_F(KubeletStreamsTest, ExecErrors) {
  const Outcome unbound = Run("kubectl exec unbound -- true");
  EXPECT_EQ(unbound.code, 1);
  EXPECT_EQ(unbound.text, "Error from server (BadRequest): pod unbound does "
                          "not have a host assigned\n");
  EXPECT_THAT(Run("kubectl exec pulling -- true").text,
              HasSubstr("unable to upgrade connection: container not found "
                        "(\"c\")"));
}

// The API server asks no kubelet that isn't of the cluster's authority; and a
// kubelet shows what is in its files now.
TEST_F(KubeletStreamsTest, AKubeletOfAnotherAuthorityIsNotBelieved) {
  WriteServingCertificate("other");
  Outcome logs;
  ASSERT_TRUE(Eventually(
      [&] {
        logs = Run("kubectl logs two -c a --tail 1");
        return logs.code != 0;
      },
      absl::Seconds(60)));
  EXPECT_THAT(logs.text, HasSubstr("Error from server: Get \"https://192.0.2."
                                   "11:"));
  EXPECT_THAT(logs.text,
              HasSubstr("TLS: the server's certificate is refused"));
  EXPECT_THAT(Run("kubectl exec two -c a -- true").text,
              HasSubstr("error dialing backend: TLS: the server's certificate "
                        "is refused"));
  WriteServingCertificate("pki");
  EXPECT_TRUE(Eventually(
      [] { return Run("kubectl exec two -c a -- true").code == 0; },
      absl::Seconds(60)));
}

// What the user reads when the kubelet refuses the API server.
TEST_F(KubeletStreamsTest, AnApiServerThatMayNotIsForbidden) {
  WriteKubeletClient("someone");
  Outcome logs;
  ASSERT_TRUE(Eventually(
      [&] {
        logs = Run("kubectl logs two -c a --tail 1");
        return logs.code != 0;
      },
      absl::Seconds(60)));
  EXPECT_EQ(logs.text,
            "Error from server (Forbidden): Forbidden (user=someone, verb=get, "
            "resource=nodes, subresource=proxy) ( pods/log two)\n");
  EXPECT_THAT(Run("kubectl exec two -c a -- true").text,
              HasSubstr("unable to upgrade connection: Forbidden "
                        "(user=someone, verb=get, resource=nodes, "
                        "subresource=proxy)"));
  WriteKubeletClient(pki::kKubeletClientUser);
  EXPECT_TRUE(Eventually(
      [] { return Run("kubectl exec two -c a -- true").code == 0; },
      absl::Seconds(60)));
}

}  // namespace
}  // namespace fairlead
