// SPDX-License-Identifier: Apache-2.0
// The flow table's algorithm, on plain memory: what the programs and user
// space both run.
#include "bpf/abi/flow_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace fairlead {
namespace {

class Table {
 public:
  explicit Table(uint32_t buckets) : buckets_(buckets) {
    std::mt19937 random(buckets);
    for (uint32_t& secret : hashing_.secret) secret = random();
    hashing_.mask = buckets - 1;
  }

  // The way, or enum fl_flow_claim.
  int Put(const fl_flow_key& key, const fl_flow& flow) {
    const uint64_t hash = fl_flow_hash(&key, &hashing_);
    const int at = fl_flow_claim(&First(hash), &Second(hash), &key,
                                 fl_flow_tag(hash), flow.state, flow.last_seen);
    if (at >= 0) {
      fl_flow_bucket& bucket = (at & 8) != 0 ? Second(hash) : First(hash);
      fl_flow_fill(&bucket, at, &key, &flow);
      fl_flow_publish(&bucket, at);
    }
    return at;
  }

  const fl_flow* Find(const fl_flow_key& key) {
    const uint64_t hash = fl_flow_hash(&key, &hashing_);
    for (fl_flow_bucket* bucket : {&First(hash), &Second(hash)}) {
      const int way = fl_flow_way(bucket, &key, fl_flow_tag(hash));
      if (way >= 0) return &bucket->entry[way].flow;
    }
    return nullptr;
  }

  bool Remove(const fl_flow_key& key) {
    const uint64_t hash = fl_flow_hash(&key, &hashing_);
    for (fl_flow_bucket* bucket : {&First(hash), &Second(hash)}) {
      const int way = fl_flow_way(bucket, &key, fl_flow_tag(hash));
      if (way < 0) continue;
      return fl_flow_release(bucket, way, FL_FLOW_LOAD(bucket->mark[way]));
    }
    return false;
  }

  // The flow of `key`, if it stayed its while it was read.
  std::optional<fl_flow> Read(const fl_flow_key& key) {
    const uint64_t hash = fl_flow_hash(&key, &hashing_);
    for (fl_flow_bucket* bucket : {&First(hash), &Second(hash)}) {
      for (uint32_t way = 0; way < FL_FLOW_WAYS; ++way) {
        const uint64_t mark = __atomic_load_n(&bucket->mark[way], __ATOMIC_ACQUIRE);
        const fl_flow_entry entry = bucket->entry[way];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (mark >> 32 == fl_flow_tag(hash) && (mark & 1) == 0 &&
            mark == FL_FLOW_LOAD(bucket->mark[way])) {
          return entry.flow;
        }
      }
    }
    return std::nullopt;
  }

  // Entries in either of a key's buckets with its tag.
  int Copies(const fl_flow_key& key) {
    const uint64_t hash = fl_flow_hash(&key, &hashing_);
    std::set<fl_flow_bucket*> buckets = {&First(hash), &Second(hash)};
    int copies = 0;
    for (fl_flow_bucket* bucket : buckets) {
      for (uint64_t mark : bucket->mark) {
        copies += mark >> 32 == fl_flow_tag(hash);
      }
    }
    return copies;
  }

  size_t capacity() const { return buckets_.size() * FL_FLOW_WAYS; }

 private:
  fl_flow_bucket& First(uint64_t hash) {
    return buckets_[fl_flow_first(hash, hashing_.mask)];
  }
  fl_flow_bucket& Second(uint64_t hash) {
    return buckets_[fl_flow_second(hash, hashing_.mask)];
  }
  fl_flow_hashing hashing_ = {};
  std::vector<fl_flow_bucket> buckets_;
};

// Clients of one service: addresses and ports in sequence, as they come.
fl_flow_key Key(uint32_t client) {
  fl_flow_key key = {};
  key.src.w[2] = 0xffff0000;
  key.src.w[3] = 0x0a010000 + (client >> 8);
  key.dst.w[2] = 0xffff0000;
  key.dst.w[3] = 0x0a600001;
  key.sport = static_cast<uint16_t>(client & 0xff);
  key.dport = 80;
  key.proto = 6;
  return key;
}

fl_flow Flow(uint32_t value, fl_flow_state state = FL_FLOW_NEW,
             uint32_t last_seen = 1000) {
  fl_flow flow = {};
  flow.state = state;
  flow.last_seen = last_seen;
  // Every word says the same: a torn read shows.
  for (uint32_t& word : flow.addr.w) word = value;
  flow.service_id = flow.backend_id = flow.backend_generation = value;
  return flow;
}

// {bucket, way}: what the header says of a new entry's place, in other words.
std::pair<int, int> Place(const fl_flow_bucket (&pair)[2], uint32_t now) {
  auto free_ways = [](const fl_flow_bucket& bucket) {
    return std::count_if(std::begin(bucket.mark), std::end(bucket.mark),
                         [](uint64_t mark) { return mark >> 32 == 0; });
  };
  const int64_t free[] = {free_ways(pair[0]), free_ways(pair[1])};
  std::pair<int, int> place = {free[1] > free[0], 0};
  uint64_t least = ~0ull;
  for (int bucket = 0; bucket < 2; ++bucket) {
    for (int way = 0; way < FL_FLOW_WAYS; ++way) {
      const uint64_t mark = pair[bucket].mark[way];
      if (mark >> 32 == 0 && bucket == place.first) return {bucket, way};
      if (free[0] + free[1] != 0 || fl_flow_worth(mark, now) >= least) continue;
      least = fl_flow_worth(mark, now);
      place = {bucket, way};
    }
    if (free[0] + free[1] != 0 && bucket == place.first) break;
  }
  return place;
}

TEST(FlowTable, RoomIsWhatIsFreeOrWorthLeast) {
  std::mt19937 random(1);
  int full = 0;
  for (int i = 0; i < 20'000; ++i) {
    const uint32_t now = random() >> 4;
    fl_flow_bucket pair[2] = {};
    for (fl_flow_bucket& bucket : pair) {
      for (__u64& mark : bucket.mark) {
        const fl_flow_state state = fl_flow_state(random() % 4);
        const uint32_t seen = now - random() % 10'000;
        mark = random() % 20 == 0
                   ? fl_flow_mark(0, 0, random() & ~1u)
                   : fl_flow_mark(fl_flow_tag(random()),
                                  fl_flow_rank(state, seen), random() & ~1u);
      }
    }
    const auto [bucket, way] = Place(pair, now);
    const uint64_t mark = pair[bucket].mark[way];
    const uint64_t room = fl_flow_room(&pair[0], &pair[1], now);
    ASSERT_EQ(room & 0xf, static_cast<uint64_t>(bucket * 8 + way)) << i;
    ASSERT_EQ(room >> 16, fl_flow_cost(mark, now)) << i;
    full += mark >> 32 != 0;
  }
  EXPECT_GT(full, 5'000);
  EXPECT_LT(full, 15'000);
}

TEST(FlowTable, FindsWhatWasMade) {
  Table table(16);
  EXPECT_EQ(table.Find(Key(1)), nullptr);
  ASSERT_GE(table.Put(Key(1), Flow(7)), 0);
  ASSERT_NE(table.Find(Key(1)), nullptr);
  EXPECT_EQ(table.Find(Key(1))->backend_id, 7u);
  EXPECT_EQ(table.Find(Key(2)), nullptr);
  EXPECT_TRUE(table.Remove(Key(1)));
  EXPECT_EQ(table.Find(Key(1)), nullptr);
  EXPECT_FALSE(table.Remove(Key(1)));
}

TEST(FlowTable, EachPartOfAKeyCounts) {
  Table table(1);
  ASSERT_GE(table.Put(Key(1), Flow(1)), 0);
  for (size_t byte = 0; byte < offsetof(fl_flow_key, pad); ++byte) {
    fl_flow_key other = Key(1);
    reinterpret_cast<uint8_t*>(&other)[byte] ^= 1;
    EXPECT_EQ(table.Find(other), nullptr) << "byte " << byte;
  }
}

TEST(FlowTable, AKeyIsMadeOnce) {
  Table table(16);
  ASSERT_GE(table.Put(Key(1), Flow(1)), 0);
  EXPECT_EQ(table.Put(Key(1), Flow(2)), FL_FLOW_EXISTS);
  EXPECT_EQ(table.Copies(Key(1)), 1);
  EXPECT_EQ(table.Find(Key(1))->backend_id, 1u);
}

// Keys that are missing after `count` were made one after the other.
uint32_t Lost(Table* table, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) (void)table->Put(Key(i), Flow(i));
  uint32_t lost = 0;
  for (uint32_t i = 0; i < count; ++i) lost += table->Find(Key(i)) == nullptr;
  return lost;
}

// (One bucket a key would lose its first one before a fifth.)
TEST(FlowTable, TwoThirdsFitBeforeAnythingGoes) {
  Table table(4096);
  EXPECT_EQ(Lost(&table, static_cast<uint32_t>(table.capacity() * 2 / 3)), 0u);
}

TEST(FlowTable, OfNineTenthsOneInAHundredIsLost) {
  Table table(4096);
  const auto count = static_cast<uint32_t>(table.capacity() * 9 / 10);
  EXPECT_LT(Lost(&table, count), count / 100);
}

TEST(FlowTable, AFullTableTakesTheNewestAnyway) {
  Table table(64);
  for (uint32_t i = 0; i < 100'000; ++i) {
    ASSERT_GE(table.Put(Key(i), Flow(i)), 0);
    ASSERT_NE(table.Find(Key(i)), nullptr) << i;
  }
}

TEST(FlowTable, AFloodOfFirstPacketsLeavesWhatIsEstablished) {
  Table table(64);
  constexpr uint32_t kEstablished = 256;
  for (uint32_t i = 0; i < kEstablished; ++i) {
    (void)table.Put(Key(i), Flow(i, FL_FLOW_ESTABLISHED, 1000));
  }
  for (uint32_t i = kEstablished; i < 100'000; ++i) {
    (void)table.Put(Key(i), Flow(i, FL_FLOW_NEW, 1000 + i / 100));
  }
  for (uint32_t i = 0; i < kEstablished; ++i) {
    EXPECT_NE(table.Find(Key(i)), nullptr) << i;
  }
}

struct RankRow {
  const char* text;
  fl_flow_state first;
  uint32_t first_seen;
  fl_flow_state second;
  uint32_t second_seen;
};

TEST(FlowTable, WhatGoesFirst) {
  const uint32_t now = 600'000;
  const RankRow rows[] = {
      {"closed before new", FL_FLOW_CLOSED, now, FL_FLOW_NEW, now - 100},
      {"new before closing", FL_FLOW_NEW, now, FL_FLOW_CLOSING, now - 100},
      {"closing before established", FL_FLOW_CLOSING, now,
       FL_FLOW_ESTABLISHED, now - 100},
      {"the longer silent", FL_FLOW_ESTABLISHED, now - 64,
       FL_FLOW_ESTABLISHED, now},
      {"over the wrap of a class", FL_FLOW_NEW, (1u << 19) - 64, FL_FLOW_NEW,
       (1u << 19) + 64},
      {"over the wrap of all", FL_FLOW_NEW, (1u << 21) - 64, FL_FLOW_NEW,
       (1u << 21) + 64},
      {"closed for five days before new", FL_FLOW_CLOSED, now - 432'000,
       FL_FLOW_NEW, now},
  };
  for (const RankRow& row : rows) {
    const uint32_t at = std::max(row.first_seen, row.second_seen);
    auto worth = [at](fl_flow_state state, uint32_t seen) {
      return fl_flow_worth(
          fl_flow_mark(1, fl_flow_rank(state, seen), 0), at);
    };
    EXPECT_LT(worth(row.first, row.first_seen),
              worth(row.second, row.second_seen))
        << row.text;
  }
}

// Nobody who knows no secret can say which keys meet: with two secrets, the
// keys that share a bucket differ.
TEST(FlowTable, TheSecretDecidesWhoMeets) {
  std::mt19937 random(1);
  std::vector<fl_flow_hashing> hashings(2);
  for (fl_flow_hashing& hashing : hashings) {
    for (uint32_t& secret : hashing.secret) secret = random();
    hashing.mask = 255;
  }
  constexpr int kKeys = 20'000;
  int met = 0, met_again = 0;
  const fl_flow_key zero = Key(0);
  auto first = [](const fl_flow_key& key, const fl_flow_hashing& hashing) {
    return fl_flow_first(fl_flow_hash(&key, &hashing), hashing.mask);
  };
  for (uint32_t i = 1; i <= kKeys; ++i) {
    if (first(Key(i), hashings[0]) != first(zero, hashings[0])) continue;
    ++met;
    met_again += first(Key(i), hashings[1]) == first(zero, hashings[1]);
  }
  EXPECT_GT(met, kKeys / 256 / 2);
  EXPECT_LT(met, kKeys / 256 * 2);
  EXPECT_LT(met_again, met / 4);
}

// Threads make, find and remove the same few keys. Whoever was told that it
// made a key is alone; what is found is whole.
TEST(FlowTable, ThreadsNeverMakeAKeyTwice) {
  Table table(64);
  constexpr uint32_t kKeys = 12;
  std::atomic<int> owners[kKeys] = {};
  std::atomic<uint64_t> made = 0;
  std::atomic<bool> broken = false;
  auto work = [&](uint32_t seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 500'000 && !broken; ++i) {
      const uint32_t n = random() % kKeys;
      if (std::optional<fl_flow> found = table.Read(Key(n))) {
        const fl_flow whole = Flow(found->backend_id);
        if (found->backend_id % kKeys != n ||
            memcmp(&*found, &whole, sizeof whole) != 0) {
          broken = true;
        }
      }
      if (table.Put(Key(n), Flow(n + kKeys * seed)) < 0) continue;
      ++made;
      if (++owners[n] != 1) broken = true;
      --owners[n];
      if (!table.Remove(Key(n))) broken = true;
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(broken);
  EXPECT_GT(made, 1000u);
  for (uint32_t n = 0; n < kKeys; ++n) EXPECT_EQ(table.Copies(Key(n)), 0);
}

// As many keys as four tables hold: entries are taken away from under readers
// and makers all the time, and still nobody sees half of one.
TEST(FlowTable, ThreadsInAFullTableSeeWholeEntries) {
  Table table(2);
  const auto keys = static_cast<uint32_t>(4 * table.capacity());
  std::atomic<uint64_t> seen = 0;
  std::atomic<bool> broken = false;
  auto work = [&](uint32_t seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < 500'000 && !broken; ++i) {
      const uint32_t n = random() % keys;
      std::optional<fl_flow> found = table.Read(Key(n));
      if (found.has_value()) {
        const fl_flow whole = Flow(found->backend_id);
        ++seen;
        if (found->backend_id % keys != n ||
            memcmp(&*found, &whole, sizeof whole) != 0) {
          broken = true;
        }
      }
      (void)table.Put(Key(n), Flow(n + keys * seed));
    }
  };
  std::vector<std::thread> threads;
  for (uint32_t seed = 1; seed <= 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(broken);
  EXPECT_GT(seen, 1000u);
}

}  // namespace
}  // namespace fairlead
