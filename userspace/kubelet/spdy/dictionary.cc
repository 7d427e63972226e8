// SPDX-License-Identifier: Apache-2.0
#include "userspace/base/strings.h"
#include "userspace/kubelet/spdy/frames.h"

namespace fairlead::spdy {
namespace {

// Each with its length before it.
constexpr std::string_view kWords[] = {
    "options", "head", "post", "put", "delete", "trace", "accept",
    "accept-charset", "accept-encoding", "accept-language", "accept-ranges",
    "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length",
    "content-location", "content-md5", "content-range", "content-type", "date",
    "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since",
    "last-modified", "location", "max-forwards", "pragma",
    "proxy-authenticate", "proxy-authorization", "range", "referer",
    "retry-after", "server", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent", "vary", "via", "warning", "www-authenticate", "method",
    "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public",
    "set-cookie", "keep-alive", "origin"};

// And one piece.
constexpr std::string_view kRest =
    "10010120120220520630030230330430530630740240540640740840941041141241341441"
    "5416417502504505203 Non-Authoritative Information204 No Content301 Moved "
    "Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 "
    "Internal Server Error501 Not Implemented503 Service UnavailableJan Feb "
    "Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, "
    "Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,public"
    "privatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,"
    "enq=0.";

std::string MakeDictionary() {
  std::string out;
  for (const std::string_view word : kWords) {
    out += {0, 0, 0, static_cast<char>(word.size())};
    out += word;
  }
  out += kRest;
  return out;
}

}  // namespace

const std::string& HeaderDictionary() {
  static const auto* const dictionary = new std::string(MakeDictionary());
  return *dictionary;
}

}  // namespace fairlead::spdy
