// SPDX-License-Identifier: Apache-2.0
#include "userspace/netlink/nft.h"

#include <nftables/libnftables.h>

#include <memory>

#include "userspace/base/strings.h"

namespace fairlead::netlink {

absl::Status RunNft(const std::string& commands) {
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> context(
      nft_ctx_new(NFT_CTX_DEFAULT), nft_ctx_free);
  if (context == nullptr || nft_ctx_buffer_error(context.get()) != 0 ||
      nft_ctx_buffer_output(context.get()) != 0) {
    return absl::ResourceExhaustedError("nftables: no memory");
  }
  if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0)
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat("nftables: ", nft_ctx_get_error_buffer(context.get())));
}

bool HasNftTable(const std::string& family, const std::string& name) {
  return RunNft(StrCat("list table ", family, " ", name)).ok();
}

}  // namespace fairlead::netlink
