// SPDX-License-Identifier: Apache-2.0
// SPDY/3.1 as kubectl port-forward speaks it: frames against zlib itself, what
// a session makes of them, and what it does to those who break the protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/unit/spdy_client.h"
#include "userspace/base/strings.h"
#include "userspace/kubelet/spdy/session.h"

namespace fairlead::spdy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Read(FrameReader* reader, std::vector<Frame>* frames) {
  while (true) {
    auto frame = reader->Next();
    if (!frame.ok()) return std::string(frame.status().message());
    if (!*frame) return "";
    frames->push_back(**frame);
  }
}

std::string ErrorOf(const std::string& bytes) {
  FrameReader reader;
  std::vector<Frame> frames;
  reader.Feed(bytes);
  return Read(&reader, &frames);
}

TEST(SpdyFrames, TheDictionaryIsTheProtocols) {
  const std::string& words = HeaderDictionary();
  EXPECT_EQ(words.size(), 1423u);
  // What zlib says in its head when it asks for it.
  EXPECT_EQ(adler32(adler32(0, nullptr, 0),
                    reinterpret_cast<const Bytef*>(words.data()),
                    static_cast<uInt>(words.size())),
            0xe3c6a7c2u);
}

TEST(SpdyFrames, HeadersAreRead) {
  SpdyClient client;
  const Headers first = {{"streamtype", "error"}, {"port", "80"}};
  const Headers second = {{"streamtype", "data"},
                          {"port", "80"},
                          {"values", std::string("a\0b", 3)}};
  std::string bytes = client.SynStream(1, first, true);
  bytes += client.SynStream(3, second);
  bytes += Control(8, 1, Number(3, 4) + client.Pack(Block({})));
  // In one piece, and byte by byte.
  for (const size_t step : {bytes.size(), size_t{1}}) {
    FrameReader reader;
    std::vector<Frame> frames;
    for (size_t at = 0; at < bytes.size(); at += step) {
      reader.Feed(std::string_view(bytes).substr(at, step));
      ASSERT_EQ(Read(&reader, &frames), "");
    }
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(frames[0].type, FrameType::kSynStream);
    EXPECT_EQ(frames[0].stream, 1u);
    EXPECT_TRUE(frames[0].fin);
    EXPECT_EQ(frames[0].headers, first);
    EXPECT_FALSE(frames[1].fin);
    EXPECT_EQ(frames[1].headers, second);
    EXPECT_EQ(frames[2].type, FrameType::kHeaders);
    EXPECT_TRUE(frames[2].fin);
  }
}

TEST(SpdyFrames, DataComesInPiecesAndItsEndWithTheLast) {
  FrameReader reader;
  std::vector<Frame> frames;
  const std::string bytes = Data(5, "0123456789", true) + Data(7, "");
  reader.Feed(bytes.substr(0, 11));
  EXPECT_EQ(Read(&reader, &frames), "");
  reader.Feed(bytes.substr(11));
  EXPECT_EQ(Read(&reader, &frames), "");
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0].data, "012");
  EXPECT_FALSE(frames[0].fin);
  EXPECT_EQ(frames[1].data, "3456789");
  EXPECT_TRUE(frames[1].fin);
  EXPECT_EQ(frames[2].stream, 7u);
  EXPECT_EQ(frames[2].data, "");
  EXPECT_FALSE(frames[2].fin);
}

TEST(SpdyFrames, RepliesAreOneStreamOfZlib) {
  FrameWriter writer;
  z_stream stream = {};
  ASSERT_EQ(inflateInit(&stream), Z_OK);
  for (const uint32_t id : {1u, 3u, 5u}) {
    const std::string frame = writer.SynReply(id, {{"a", "b"}});
    EXPECT_EQ(frame.substr(0, 4), Number(0x80030002, 4));
    EXPECT_EQ(frame.substr(4, 4), Number(frame.size() - 8, 4));
    EXPECT_EQ(frame.substr(8, 4), Number(id, 4));
    std::string packed = frame.substr(12), out(100, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_in = static_cast<uInt>(packed.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    int result = inflate(&stream, Z_SYNC_FLUSH);
    if (id == 1) {
      ASSERT_EQ(result, Z_NEED_DICT);
      const std::string& words = HeaderDictionary();
      inflateSetDictionary(&stream,
                           reinterpret_cast<const Bytef*>(words.data()),
                           static_cast<uInt>(words.size()));
      result = inflate(&stream, Z_SYNC_FLUSH);
    }
    EXPECT_EQ(result, Z_OK);
    EXPECT_EQ(stream.avail_in, 0u);
    EXPECT_EQ(out.substr(0, out.size() - stream.avail_out),
              Block({{"a", "b"}}));
  }
  inflateEnd(&stream);
}

TEST(SpdyFrames, HostileOnesAreRefusedInWords) {
  EXPECT_THAT(ErrorOf(Control(6, 0, Number(1, 4), 2)), HasSubstr("version"));
  EXPECT_THAT(ErrorOf(Number(0x80030001, 4) + Number(0xffffff, 4)),
              HasSubstr("too long a control frame"));
  for (const uint16_t type : {1, 2, 3, 6, 7, 8, 9}) {
    EXPECT_THAT(ErrorOf(Control(type, 0, Number(1, 3))), HasSubstr("length"))
        << type;
  }
  EXPECT_THAT(ErrorOf(Control(6, 0, Number(1, 8))), HasSubstr("length"));
  EXPECT_EQ(ErrorOf(Control(5, 0, "of no known type")), "");
  EXPECT_EQ(ErrorOf(Control(4, 0, "any settings")), "");
  const std::string head = Number(1, 4) + Number(0, 6);
  auto with = [&](const std::string& block) {
    SpdyClient client;
    return ErrorOf(Control(1, 0, head + client.Pack(block)));
  };
  EXPECT_THAT(ErrorOf(Control(1, 0, head + "no zlib at all")),
              HasSubstr("can't be unpacked"));
  EXPECT_THAT(ErrorOf(Control(1, 0, head)), HasSubstr("without a count"));
  EXPECT_THAT(with(Number(1, 4)), HasSubstr("cut off"));
  EXPECT_THAT(with(Number(0xffffffff, 4) + Block({{"a", "b"}})),
              HasSubstr("cut off"));
  EXPECT_THAT(with(Number(1, 4) + Number(0xffffffff, 4) + "a"),
              HasSubstr("cut off"));
  EXPECT_THAT(with(Block({}) + "more"), HasSubstr("more than its count"));
  // A megabyte in a thousand bytes.
  EXPECT_THAT(with(Block({{"a", std::string(1 << 20, 'b')}})),
              HasSubstr("too large a header block"));
  // Another dictionary, and a stream that ends.
  z_stream other = {};
  deflateInit(&other, 9);
  deflateSetDictionary(&other, reinterpret_cast<const Bytef*>("words"), 5);
  std::string block = Block({}), out(100, '\0');
  other.next_in = reinterpret_cast<Bytef*>(block.data());
  other.avail_in = static_cast<uInt>(block.size());
  other.next_out = reinterpret_cast<Bytef*>(out.data());
  other.avail_out = static_cast<uInt>(out.size());
  deflate(&other, Z_SYNC_FLUSH);
  deflateEnd(&other);
  EXPECT_THAT(ErrorOf(Control(1, 0, head + out)),
              HasSubstr("can't be unpacked"));
  SpdyClient client;
  EXPECT_THAT(ErrorOf(Control(1, 0, head + client.Pack(Block({}), Z_FINISH))),
              HasSubstr("can't be unpacked"));
}

class SpdySessionTest : public ::testing::Test, public Session::Streams {
 protected:
  absl::Status OnOpen(uint32_t stream, const Headers& headers) override {
    for (const auto& [name, value] : headers) {
      if (name == "refuse") return absl::InvalidArgumentError(value);
    }
    seen_.push_back(StrCat("open ", stream));
    return absl::OkStatus();
  }
  void OnData(uint32_t stream, std::string_view data) override {
    seen_.push_back(StrCat("data ", stream, " ", data));
  }
  void OnFinished(uint32_t stream) override {
    seen_.push_back(StrCat("finished ", stream));
  }
  void OnReset(uint32_t stream) override {
    seen_.push_back(StrCat("reset ", stream));
  }

  // Frames that went out, in words.
  std::vector<std::string> Sent() {
    reader_.Feed(session_.Take());
    std::vector<Frame> frames;
    EXPECT_EQ(Read(&reader_, &frames), "");
    std::vector<std::string> words;
    for (const Frame& f : frames) {
      words.push_back(StrCat(static_cast<int>(f.type), " ", f.stream, " ",
                             f.value, f.data.empty() ? "" : " ", f.data,
                             f.fin ? " fin" : ""));
    }
    return words;
  }
  std::string Receive(const std::string& bytes) {
    return std::string(session_.Receive(bytes).message());
  }

  SpdyClient client_;
  Session session_{this};
  FrameReader reader_;
  std::vector<std::string> seen_;
};

TEST_F(SpdySessionTest, AStreamsLife) {
  EXPECT_EQ(Receive(client_.SynStream(1, {}) + Data(1, "in") +
                    Data(1, "", true)), "");
  EXPECT_THAT(seen_, ElementsAre("open 1", "data 1 in", "finished 1"));
  session_.Send(1, "out");
  session_.Finish(1);
  session_.Send(1, "late");
  EXPECT_THAT(Sent(), ElementsAre("2 1 0", "0 1 0 out", "0 1 0 fin"));
  EXPECT_EQ(session_.streams(), 0u);
  // What was on its way is passed over.
  EXPECT_EQ(Receive(Data(1, "x") + Control(3, 0, Number(1, 4) + Number(5, 4))),
            "");
  EXPECT_EQ(seen_.size(), 3u);
}

TEST_F(SpdySessionTest, ResetsBothWays) {
  EXPECT_EQ(Receive(client_.SynStream(1, {})), "");
  EXPECT_EQ(Receive(client_.SynStream(3, {}) +
                    Control(3, 0, Number(1, 4) + Number(5, 4))), "");
  session_.Reset(3, ResetStatus::kCancel);
  session_.Send(1, "x");
  session_.Send(3, "x");
  EXPECT_THAT(seen_, ElementsAre("open 1", "open 3", "reset 1"));
  EXPECT_THAT(Sent(), ElementsAre("2 1 0", "2 3 0", "3 3 5"));
  EXPECT_EQ(session_.streams(), 0u);
}

TEST_F(SpdySessionTest, RefusedAndTooManyStreams) {
  EXPECT_EQ(Receive(client_.SynStream(1, {{"refuse", "why"}})), "");
  EXPECT_THAT(Sent(), ElementsAre("3 1 3"));
  for (uint32_t i = 0; i < kMaxStreams; ++i)
    ASSERT_EQ(Receive(client_.SynStream(3 + 2 * i, {})), "");
  EXPECT_EQ(session_.streams(), kMaxStreams);
  EXPECT_EQ(Sent().size(), kMaxStreams);
  EXPECT_EQ(Receive(client_.SynStream(9001, {})), "");
  EXPECT_THAT(Sent(), ElementsAre("3 9001 3"));
}

TEST_F(SpdySessionTest, PingsAreAnswered) {
  EXPECT_EQ(Receive(Control(6, 0, Number(7, 4)) + Control(6, 0, Number(8, 4))),
            "");
  EXPECT_THAT(Sent(), ElementsAre("6 0 7"));
  // Nothing that changes anything here.
  EXPECT_EQ(Receive(Control(9, 0, Number(0, 4) + Number(1, 4)) +
                    Control(7, 0, Number(0, 8))), "");
  EXPECT_EQ(session_.queued(), 0u);
}

TEST_F(SpdySessionTest, DataAfterTheEndResets) {
  EXPECT_EQ(Receive(client_.SynStream(1, {}, true) + Data(1, "x")), "");
  EXPECT_THAT(seen_, ElementsAre("open 1", "finished 1", "reset 1"));
  EXPECT_THAT(Sent(), ElementsAre("2 1 0", "3 1 9"));
}

TEST_F(SpdySessionTest, WhoBreaksTheProtocolIsToldAndDone) {
  const std::pair<std::string, std::string> cases[] = {
      {Data(2, "x"), "stream 2 was never opened"},
      {Data(5, "x"), "stream 5 was never opened"},
      {Data(0, "x"), "stream 0 was never opened"},
      {"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + std::string(1 << 16, 'x'),
       "never opened"},
  };
  for (const auto& [bytes, error] : cases) {
    Session session(this);
    SpdyClient client;
    EXPECT_TRUE(session.Receive(client.SynStream(3, {})).ok());
    session.Take();
    EXPECT_THAT(std::string(session.Receive(bytes).message()),
                HasSubstr(error));
    EXPECT_EQ(session.Take(), Control(7, 0, Number(3, 4) + Number(1, 4)));
  }
  EXPECT_TRUE(session_.Receive(client_.SynStream(3, {})).ok());
  EXPECT_THAT(Receive(Control(2, 0, Number(3, 4) + client_.Pack(Block({})))),
              HasSubstr("a reply to a stream that was never opened"));
  for (const uint32_t id : {2u, 1u, 3u, 0u}) {
    Session session(this);
    SpdyClient client;
    EXPECT_TRUE(session.Receive(client.SynStream(3, {})).ok());
    EXPECT_FALSE(session.Receive(client.SynStream(id, {})).ok()) << id;
  }
}

}  // namespace
}  // namespace fairlead::spdy
