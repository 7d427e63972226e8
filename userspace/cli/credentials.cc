// SPDX-License-Identifier: Apache-2.0
#include "userspace/cli/credentials.h"

#include <filesystem>
#include <string>

#include "userspace/base/status.h"
#include "userspace/base/write_file.h"
#include "userspace/kube/kubeconfig.h"
#include "userspace/pki/authority.h"

namespace fairlead::cli {
namespace {

namespace fs = std::filesystem;

// The kubeconfig names the files beside it, which its reader looks at again.
absl::Status WriteClient(const Box& box, const pki::Authority& authority,
                         const std::string& kubeconfig,
                         const pki::Subject& subject, absl::Time now) {
  FL_ASSIGN_OR_RETURN(const pki::Credential made,
                      authority.IssueClient(subject, now));
  kube::ApiServer server;
  server.url = Box::FabricApiUrl();
  server.ca_pem = authority.certificate().ToPem();
  const fs::path path = kubeconfig;
  const std::string daemon = path.stem();
  server.client_certificate_file = daemon + "-client.crt";
  server.client_key_file = daemon + "-client.key";
  FL_RETURN_IF_ERROR(WriteFile(path.parent_path() / server.client_key_file,
                               made.key_pem, 0600));
  FL_RETURN_IF_ERROR(
      WriteFile(path.parent_path() / server.client_certificate_file,
                made.certificate_pem, 0644));
  return WriteFile(kubeconfig, kube::MakeKubeconfig(box.name, server), 0600);
}

absl::Status WriteServing(const Box& box, const pki::Authority& authority,
                          int node, absl::Time now) {
  const DualAddress address = Box::NodeAddress(node);
  const std::string name = Box::NodeName(node);
  FL_ASSIGN_OR_RETURN(
      const pki::Credential made,
      authority.IssueServer("system:node:" + name, {name},
                            {address.v4, address.v6}, now));
  FL_RETURN_IF_ERROR(WriteFile(box.KubeletKey(node), made.key_pem, 0600));
  return WriteFile(box.KubeletCertificate(node), made.certificate_pem, 0644);
}

}  // namespace

absl::Status WriteNodeCredentials(const Box& box, absl::Time now) {
  FL_ASSIGN_OR_RETURN(const pki::Authority authority,
                      pki::Authority::Open(box.PkiDir(), now));
  for (int node = 1; node <= box.nodes; ++node) {
    const pki::Subject kubelet = {"system:node:" + Box::NodeName(node),
                                  {"system:nodes"}};
    FL_RETURN_IF_ERROR(
        WriteClient(box, authority, box.KubeletKubeconfig(node), kubelet, now));
    // The default role system:node-proxier is bound to this user.
    FL_RETURN_IF_ERROR(WriteClient(box, authority, box.AgentKubeconfig(node),
                                   {"system:kube-proxy", {}}, now));
    FL_RETURN_IF_ERROR(WriteServing(box, authority, node, now));
  }
  return absl::OkStatus();
}

}  // namespace fairlead::cli
