// SPDX-License-Identifier: Apache-2.0
// Keys, certificates and tokens, the forged and the old ones too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "userspace/base/strings.h"
#include "userspace/pki/authority.h"
#include "userspace/pki/jwt.h"

namespace fairlead::pki {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

class PkiTest : public testing::Test {
 protected:
  PkiTest() {
    std::string pattern = (fs::temp_directory_path() / "fl-pki-XXXXXX");
    folder_ = mkdtemp(pattern.data());
  }
  ~PkiTest() override { fs::remove_all(folder_); }
  Authority Open(const std::string& name = "pki", absl::Time now = kNow) {
    auto authority = Authority::Open(folder_ + "/" + name, now);
    EXPECT_TRUE(authority.ok()) << authority.status();
    return *std::move(authority);
  }
  static Certificate Client(const Authority& authority,
                            absl::Time now = kNow) {
    auto made = authority.IssueClient({"ann", {"ops", "dev"}}, now);
    EXPECT_TRUE(made.ok()) << made.status();
    return *Certificate::FromPem(made->certificate_pem);
  }
  std::string folder_;
};

TEST_F(PkiTest, AClientIsItsSubject) {
  const Authority authority = Open();
  const Certificate client = Client(authority);
  EXPECT_EQ(client.subject().common_name, "ann");
  EXPECT_THAT(client.subject().organizations, ElementsAre("ops", "dev"));
  EXPECT_EQ(client.not_after(), kNow + kLeafLife);
  EXPECT_TRUE(VerifyClient(authority.certificate(), client, kNow).ok());
}

TEST_F(PkiTest, RefusesWhatItDidNotMakeForAClientOfNow) {
  const Authority authority = Open(), other = Open("other");
  const Certificate client = Client(authority);
  auto error = [&](const Certificate& c, absl::Time now) {
    const absl::Status status =
        VerifyClient(authority.certificate(), c, now);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
    return std::string(status.message());
  };
  EXPECT_THAT(error(client, kNow + kLeafLife + absl::Seconds(1)),
              HasSubstr("expired"));
  EXPECT_THAT(error(client, kNow - absl::Hours(1)),
              HasSubstr("not yet valid"));
  // The same names, another key.
  error(Client(other), kNow);
  auto server = authority.IssueServer("kubernetes", {"kubernetes"}, {}, kNow);
  ASSERT_TRUE(server.ok());
  EXPECT_THAT(error(*Certificate::FromPem(server->certificate_pem), kNow),
              HasSubstr("purpose"));
  auto key = Key::Generate();
  CertificateSpec own{.subject = {"ann", {"system:masters"}},
                      .not_before = kNow,
                      .not_after = kNow + absl::Hours(1)};
  auto self_signed = Issue(own, *key, nullptr, *key);
  ASSERT_TRUE(self_signed.ok()) << self_signed.status();
  EXPECT_THAT(error(*self_signed, kNow), HasSubstr("self"));
}

TEST_F(PkiTest, TheFolderIsMadeOnceAndIsPrivate) {
  const Authority first = Open(), again = Open();
  EXPECT_EQ(first.certificate().ToPem(), again.certificate().ToPem());
  EXPECT_EQ(first.token_key().Id(), again.token_key().Id());
  for (const char* name : {"ca.key", "sa.key"}) {
    struct stat info {};
    ASSERT_EQ(stat((folder_ + "/pki/" + name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << name;
  }
}

TEST_F(PkiTest, AnOldAuthorityIsRenewedAndItsClientsStayGood) {
  const Authority first = Open();
  const absl::Time late = kNow + kAuthorityLife - absl::Hours(24 * 365);
  const Certificate client = Client(first, late);
  const Authority renewed = Open("pki", late);
  EXPECT_NE(first.certificate().ToPem(), renewed.certificate().ToPem());
  EXPECT_EQ(renewed.certificate().not_after(), late + kAuthorityLife);
  EXPECT_TRUE(VerifyClient(renewed.certificate(), client, late).ok());
}

TEST_F(PkiTest, DamageIsNamedAndNothingIsOverwritten) {
  Open();
  const std::string pki = folder_ + "/pki/";
  const std::string key = ReadAll(pki + "ca.key");
  struct Row {
    const char* file;
    std::string text;
    const char* named;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"ca.key", "garbage", "ca.key"},
           {"ca.key", Key::Generate()->ToPem(), "ca.crt"},  // of another
           {"ca.crt", key.substr(0, 40), "ca.crt"},
           {"sa.key", "", "sa.key"}}) {
    const std::string before = ReadAll(pki + row.file);
    std::ofstream(pki + row.file) << row.text;
    auto opened = Authority::Open(folder_ + "/pki", kNow);
    ASSERT_FALSE(opened.ok()) << row.file;
    EXPECT_THAT(std::string(opened.status().message()),
                HasSubstr(pki + row.named));
    EXPECT_EQ(ReadAll(pki + row.file), row.text);
    std::ofstream(pki + row.file) << before;
  }
  fs::remove(pki + "ca.key");
  auto opened = Authority::Open(folder_ + "/pki", kNow);
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("ca.key"));
  EXPECT_FALSE(fs::exists(pki + "ca.key"));
}

TEST_F(PkiTest, ATokenCarriesItsClaims) {
  auto key = Key::Generate();
  const json claims = {{"sub", "system:serviceaccount:a:b"}, {"exp", 7}};
  auto token = SignJwt(claims, *key);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(*VerifyJwt(*token, *Key::FromPem(key->ToPem())), claims);
}

TEST_F(PkiTest, ForgedTokensAreRefused) {
  auto key = Key::Generate();
  const std::string token = *SignJwt({{"sub", "ann"}}, *key);
  const size_t first = token.find('.'), second = token.rfind('.');
  const std::string head = token.substr(0, first);
  const std::string body = token.substr(first + 1, second - first - 1);
  const std::string signature = token.substr(second + 1);
  auto encoded = [](const std::string& text) {
    return absl::WebSafeBase64Escape(text);
  };
  const std::string masters = encoded(R"({"sub":"root"})");
  std::string deep(2000, '[');
  for (const std::string& forged : {
           std::string(), std::string("."), std::string(".."),
           std::string("a.b.c"), head + "." + body, token + ".x",
           encoded(R"({"alg":"none"})") + "." + body + ".",
           encoded(R"({"alg":"none"})") + "." + body + "." + signature,
           encoded(R"({"alg":"HS256"})") + "." + body + "." + signature,
           encoded("{}") + "." + body + "." + signature,
           encoded(deep) + "." + body + "." + signature,
           head + "." + masters + "." + signature,
           head + "." + body + "." + encoded(std::string(64, '\0')),
           head + "." + body + "." + signature.substr(1),
           std::string(1 << 20, 'a')}) {
    auto claims = VerifyJwt(forged, *key);
    EXPECT_EQ(claims.status().code(), absl::StatusCode::kUnauthenticated)
        << forged.substr(0, 200);
  }
  // Another algorithm, and a signature that fits.
  const std::string other = encoded(R"({"alg":"none"})") + "." + body;
  EXPECT_FALSE(VerifyJwt(other + "." + encoded(*key->Sign(other)), *key).ok());
  EXPECT_FALSE(VerifyJwt(token, *Key::Generate()).ok());
  EXPECT_TRUE(VerifyJwt(token, *key).ok());
}

}  // namespace
}  // namespace fairlead::pki
